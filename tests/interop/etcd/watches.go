package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/metadata"
)

// A pause before something is asked again.
const again = 10 * time.Millisecond

// onStreamOfItsOwn makes the client watch on another stream than for other names.
func onStreamOfItsOwn(ctx context.Context, name any) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "stream", fmt.Sprint(name))
}

// replay is what a watch gets from a revision on, until it is told that it has all up to the last one.
func replay(client *clientv3.Client, name any, want interest, from, last int64, options ...clientv3.OpOption) ([]commit, clientv3.WatchResponse) {
	ctx, cancel := patiently()
	defer cancel()
	ctx = onStreamOfItsOwn(ctx, name)
	options = append(append(options, want.options()...), clientv3.WithRev(from))
	watch := client.Watch(ctx, want.key, options...)
	ask := time.NewTicker(again)
	defer ask.Stop()
	var events []*clientv3.Event
	must(client.RequestProgress(ctx))
	for {
		select {
		case got, open := <-watch:
			if !open || got.Err() != nil {
				return commitsOf(events), got
			}
			events = append(events, got.Events...)
			if got.IsProgressNotify() && got.Header.Revision >= last {
				return commitsOf(events), got
			}
		// etcd says nothing while it is not up to date.
		case <-ask.C:
			must(client.RequestProgress(ctx))
		}
	}
}

// anyInterest is a watch of one key, of some, or of all.
func anyInterest(d dice) interest {
	directory := []string{prefix + "/routes/", prefix + "/upstreams/"}[d.IntN(2)]
	key := fmt.Sprint(directory, d.IntN(40))
	want := []interest{
		{key: key},
		{key: key, end: "\x00"},
		{key: key, end: fmt.Sprint(directory, d.IntN(40))},
		below(directory),
		below(prefix),
	}[d.IntN(5)]
	if want.end != "" && want.end != "\x00" && want.end <= want.key {
		want.end = "\x00"
	}
	want.previous, want.noPuts, want.noDeletes = d.in(2), d.in(4), d.in(4)
	return want
}

// replays are random watches of the past.
func replays(j *judge, program string, seed uint64) {
	s, f := open(program, settings{}), flow{dice: newDice(seed, 10)}
	defer s.kill()
	client := connect(s.address)
	defer client.Close()
	for range 300 {
		s.order(f.next())
	}
	s.settle()
	last := s.life.revision()
	for i := range 150 {
		want, place := anyInterest(f.dice), f.IntN(len(s.life.commits))
		from := s.life.commits[place].revision
		var options []clientv3.OpOption
		if f.in(2) {
			options = append(options, clientv3.WithFragment())
		}
		got, end := replay(client, i, want, from, last, options...)
		var wanted []commit
		for _, made := range s.life.commits[place:] {
			if events := want.of(made); len(events) > 0 {
				wanted = append(wanted, commit{made.revision, events})
			}
		}
		j.that(end.Err() == nil, "watch of %+v from %d: %v", want, from, end.Err())
		j.equal(got, wanted, "watch of %+v from %d", want, from)
	}
}

// progress is only told of what was delivered: of watches that ask for it, and where the client asks while changes flow.
func progress(j *judge, program string, seed uint64) {
	s, client, ctx, done := stage(program, settings{progressInterval: 0.02})
	defer done()
	f := flow{dice: newDice(seed, 11)}

	start := s.life.revision() + 1
	quiet := client.Watch(ctx, "/other", clientv3.WithProgressNotify())
	for range 3 {
		got := <-quiet
		j.that(got.IsProgressNotify() && got.Header.Revision == start-1, "progress of a quiet watch: %+v", got)
	}
	var watches []clientv3.WatchChan
	for _, directory := range []string{"/routes/", "/upstreams/"} {
		all := clientv3.WithPrefix()
		watches = append(watches, client.Watch(ctx, prefix+directory, all, clientv3.WithRev(start), clientv3.WithProgressNotify()))
	}
	wanted := make(chan int64, 1)
	go func() {
		for i := range 400 {
			s.commit(f.next())
			if i%3 == 0 {
				must(client.RequestProgress(ctx))
			}
		}
		wanted <- s.commit(f.pulse())
	}()
	for i, watch := range watches {
		want := below([]string{prefix + "/routes/", prefix + "/upstreams/"}[i])
		told, header, place, last, notices := start-1, int64(0), 0, int64(-1), 0
		for end := int64(0); end == 0 || last < end; {
			var got clientv3.WatchResponse
			select {
			case end = <-wanted:
				wanted <- end
				if last >= end {
					continue
				}
				got = <-watch
			case got = <-watch:
			}
			j.that(got.Err() == nil && got.Header.Revision >= header, "revision %d after %d", got.Header.Revision, header)
			header = got.Header.Revision
			if got.IsProgressNotify() {
				told = header
				notices++
				continue
			}
			for _, made := range commitsOf(got.Events) {
				j.that(made.revision > told, "an event of %d after the progress of %d", made.revision, told)
				next, after, _ := s.life.next(place, want, made.revision)
				j.equal(made, next, "events while progress is told")
				place, last = after, made.revision
			}
		}
		j.that(i > 0 || notices > 0, "no progress was told")
	}
}

// control is what a watch is told besides events.
func control(j *judge, program string) {
	s, client, ctx, done := stage(program, settings{commits: 4})
	defer done()
	first := s.life.revision()
	route := func(value string) int64 { return s.commit(changes{Puts: map[string]string{"/routes/a": value}}) }
	for i := range 6 {
		route(fmt.Sprint(i))
	}
	now, key := s.life.revision(), prefix+"/routes/a"

	got := <-client.Watch(clientv3.WithRequireLeader(ctx), key, clientv3.WithCreatedNotify())
	j.that(got.Created && got.Header.Revision == now, "created: %+v", got)
	got = <-client.Watch(ctx, key, clientv3.WithRev(first))
	oldest := s.life.commits[len(s.life.commits)-4].revision
	j.that(errors.Is(got.Err(), rpctypes.ErrCompacted) && got.CompactRevision == oldest, "compacted, oldest %d: %+v", oldest, got)
	got = <-client.Watch(ctx, key, clientv3.WithRev(oldest))
	j.that(got.Err() == nil && len(got.Events) > 0 && got.Events[0].Kv.ModRevision == oldest, "from the oldest: %+v", got)
	got = <-client.Watch(ctx, key, clientv3.WithRev(now+2))
	j.that(errors.Is(got.Err(), rpctypes.ErrCompacted) && got.CompactRevision == now, "from the future: %+v", got)
	for got = range client.Watch(onStreamOfItsOwn(ctx, "empty"), "b", clientv3.WithRange("a")) {
		break
	}
	j.that(got.Err() != nil && strings.Contains(got.Err().Error(), "watcher range is empty"), "an empty range: %+v", got)

	// A watch that the client gave up does not touch the others of its stream.
	alone, leave := context.WithCancel(ctx)
	given, stays := client.Watch(alone, key), client.Watch(ctx, key)
	leave()
	for range given {
	}
	next := route("after a cancel")
	got = <-stays
	j.that(len(got.Events) == 1 && got.Events[0].Kv.ModRevision == next, "what stays: %+v", got)
	anew := client.Watch(ctx, key, clientv3.WithRev(next))
	got = <-anew
	j.that(len(got.Events) == 1 && got.Events[0].Kv.ModRevision == next, "one more: %+v", got)

	const many = 500
	var watches []clientv3.WatchChan
	puts := map[string]string{}
	for i := range many {
		id := fmt.Sprint("/upstreams/", i)
		puts[id] = "{}"
		watches = append(watches, client.Watch(ctx, prefix+id))
	}
	next = s.commit(changes{Puts: puts})
	for i, watch := range watches {
		got := <-watch
		ok := len(got.Events) == 1 && string(got.Events[0].Kv.Key) == fmt.Sprint(prefix, "/upstreams/", i)
		j.that(ok && got.Events[0].Kv.ModRevision == next && got.Events[0].IsCreate(), "watch %d of many: %+v", i, got)
	}
}
