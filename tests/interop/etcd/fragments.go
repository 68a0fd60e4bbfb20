package main

import (
	"fmt"
	"math"
	"strings"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
)

const (
	largeCommits = 3
	objects      = 60
	// What etcd puts into a fragment at most: its largest request, 512 KiB besides, and one more event.
	largestFragment = 2<<20 + 200_000
)

// large is a commit of several megabytes.
func large(i int) changes {
	made := changes{Puts: map[string]string{}}
	for k := range objects {
		made.Puts[fmt.Sprint("/routes/", k)] = fmt.Sprint(i, strings.Repeat("x", 100_000))
	}
	return made
}

// wholeCommits are large commits, in fragments and not, with other watches on the same stream.
func wholeCommits(j *judge, program string) {
	s, client, ctx, done := stage(program, settings{})
	defer done()
	start := s.life.revision() + 1
	var watches []clientv3.WatchChan
	for i := range 6 {
		options := []clientv3.OpOption{clientv3.WithPrefix(), clientv3.WithRev(start)}
		if i%2 == 0 {
			options = append(options, clientv3.WithFragment())
		}
		watches = append(watches, client.Watch(ctx, prefix+"/routes/", options...))
	}
	for i := range largeCommits {
		s.commit(large(i))
	}
	for n, watch := range append(watches, client.Watch(ctx, prefix+"/routes/", clientv3.WithPrefix(), clientv3.WithRev(start), clientv3.WithFragment())) {
		var seen []int
		for sum := 0; sum < largeCommits*objects; {
			got := <-watch
			if !j.that(got.Err() == nil && len(got.Events) > 0, "watch %d of large commits: %v", n, got.Err()) {
				break
			}
			for _, made := range commitsOf(got.Events) {
				seen = append(seen, len(made.events))
				sum += len(made.events)
			}
		}
		j.equal(seen, []int{objects, objects, objects}, "events of each commit for watch %d", n)
	}
}

// fragments come one after the other: the client takes what comes between them from another watch for one of them, and
// loses it.
func fragments(j *judge, program string) {
	s, client, ctx, done := stage(program, settings{})
	defer done()
	stream, err := pb.NewWatchClient(client.ActiveConnection()).Watch(ctx, grpc.MaxCallRecvMsgSize(math.MaxInt32))
	must(err)
	const watches = 4
	isWhole := func(id int64) bool { return id == watches-1 }
	for id := range int64(watches) {
		must(stream.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: &pb.WatchCreateRequest{
			Key: []byte(prefix), RangeEnd: []byte(clientv3.GetPrefixRangeEnd(prefix)), Fragment: !isWhole(id),
		}}}))
		created, err := stream.Recv()
		must(err)
		j.that(created.Created && created.WatchId == id, "watch %d is created: %v", id, created)
	}
	go func() {
		for i := range largeCommits {
			s.commit(large(i))
		}
	}()
	counts, pieces, open, last := map[int64]int{}, 0, int64(-1), int64(0)
	for sum := 0; sum < watches*largeCommits*objects; {
		got, err := stream.Recv()
		if !j.that(err == nil && len(got.GetEvents()) > 0, "events in fragments: %v", err) {
			return
		}
		j.that(open < 0 || got.WatchId == open, "watch %d between the fragments of watch %d", got.WatchId, open)
		j.that(got.Header.Revision >= last, "revision %d after %d", got.Header.Revision, last)
		j.that(isWhole(got.WatchId) || got.Size() <= largestFragment, "a fragment of %d bytes", got.Size())
		j.that(!isWhole(got.WatchId) || !got.Fragment && len(got.Events)%objects == 0, "a fragment that nobody asked for")
		open, last = -1, got.Header.Revision
		if got.Fragment {
			open = got.WatchId
			pieces++
		}
		counts[got.WatchId] += len(got.Events)
		sum += len(got.Events)
	}
	j.that(pieces > 0 && open < 0, "%d fragments, and one that nothing follows: %d", pieces, open)
	for id, count := range counts {
		j.equal(count, largeCommits*objects, "events of watch %d", id)
	}
}
