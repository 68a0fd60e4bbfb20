package main

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// The key whose value names the life, below each directory that is followed.
const lifeKey = "life"

// lives are the histories that followers may meet, by name.
type lives struct {
	mu     sync.Mutex
	byName map[string]*life
}

func (l *lives) add(name string, it *life) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.byName == nil {
		l.byName = map[string]*life{}
	}
	l.byName[name] = it
}

func (l *lives) get(name string) *life {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.byName[name]
}

// follower does as a program that keeps a copy of what is in a store: it lists, watches from there, and lists again when it
// is told that its place in the history is gone. It holds every event against the history.
type follower struct {
	judge  *judge
	lives  *lives
	client *clientv3.Client
	want   interest
	// Besides those of the interest.
	options []clientv3.OpOption

	life     *life
	place    int
	held     map[string]pair
	revision int64
	relists  int

	news *news
	// What was seen last, and whether the follower gave up; with the lock of news.
	seenLife *life
	seen     int64
	gaveUp   bool
}

// news wakes the one who waits for followers.
type news struct {
	sync.Mutex
	cond *sync.Cond
}

func newNews() *news {
	n := &news{}
	n.cond = sync.NewCond(n)
	return n
}

func (f *follower) run(ctx context.Context) {
	for f.list(ctx) && f.watch(ctx) {
		f.relists++
	}
	f.news.Lock()
	f.gaveUp = true
	f.news.Unlock()
	f.news.cond.Broadcast()
}

func (f *follower) mark(revision int64) {
	f.news.Lock()
	f.seenLife, f.seen = f.life, revision
	f.news.Unlock()
	f.news.cond.Broadcast()
}

// list takes all there is; whether it is what there must be.
func (f *follower) list(ctx context.Context) bool {
	var got *clientv3.GetResponse
	for got == nil {
		var err error
		got, err = f.client.Get(ctx, f.want.key, clientv3.WithRange(f.want.end))
		if ctx.Err() != nil {
			return false
		}
		if err != nil && !isCut(err) {
			return f.judge.that(false, "list of %s: %v", f.want.key, err)
		}
	}
	f.held, f.revision = withoutMarkers(got.Kvs), got.Header.Revision
	f.life = f.lives.get(f.held[f.want.key+lifeKey].value)
	if f.life == nil {
		return f.judge.that(false, "list of %s: it is of no life: %v", f.want.key, got.Kvs)
	}
	wanted, place := f.life.at(f.revision, f.want)
	if !f.judge.equal(f.held, wanted, "list of %s at %d", f.want.key, f.revision) {
		f.judge.lost.Add(1)
		return false
	}
	f.place = place
	f.mark(f.revision)
	return true
}

// isCut tells what a cut connection brings: the client repeats a call by itself only where it knows that it never arrived.
func isCut(err error) bool {
	return status.Code(err) == codes.Unavailable
}

// watch folds events until it is told to list again; false at the end, and where something is wrong.
func (f *follower) watch(ctx context.Context) bool {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	options := append(f.want.options(), f.options...)
	header := f.revision
	for got := range f.client.Watch(ctx, f.want.key, append(options, clientv3.WithRev(f.revision+1))...) {
		if err := got.Err(); errors.Is(err, rpctypes.ErrCompacted) {
			return f.judge.that(got.CompactRevision > 0, "compacted without a revision")
		} else if err != nil {
			return ctx.Err() == nil && f.judge.that(false, "watch of %s: %v", f.want.key, err)
		}
		last := header
		if n := len(got.Events); n > 0 {
			last = max(last, got.Events[n-1].Kv.ModRevision)
		}
		f.judge.that(got.Header.Revision >= last, "header %d after %d, or of an event of that", got.Header.Revision, last)
		header = got.Header.Revision
		for _, made := range commitsOf(got.Events) {
			if !f.take(made) {
				return false
			}
		}
	}
	return ctx.Err() == nil && f.judge.that(false, "watch of %s: closed", f.want.key)
}

// take holds the events of one revision against what must come next.
func (f *follower) take(made commit) bool {
	wanted, place, is := f.life.next(f.place, f.want, made.revision)
	if !is || !reflect.DeepEqual(made, wanted) {
		f.judge.missed("watch of %s after %d:\n  got  %+v\n  want %+v", f.want.key, f.revision, made, wanted)
		return false
	}
	f.judge.that(true, "")
	fold(f.held, made.events)
	f.place, f.revision = place, made.revision
	f.mark(made.revision)
	return true
}

// crowd are followers that the one who makes the changes waits for.
type crowd struct {
	followers []*follower
	news      *news
	cancel    context.CancelFunc
	done      sync.WaitGroup
}

// gather starts followers of both directories and of all, through these clients.
func gather(j *judge, known *lives, clients []*clientv3.Client) *crowd {
	ctx, cancel := context.WithCancel(context.Background())
	c := &crowd{news: newNews(), cancel: cancel}
	for _, client := range clients {
		for _, f := range []*follower{
			{want: below(prefix + "/routes/")},
			{want: below(prefix + "/upstreams/"), options: []clientv3.OpOption{clientv3.WithProgressNotify()}},
			// From the routes on it is all: there is no certificate.
			{
				want:    interest{key: prefix + "/routes/", end: "\x00", previous: true},
				options: []clientv3.OpOption{clientv3.WithFragment()},
			},
		} {
			f.judge, f.lives, f.client, f.news = j, known, client, c.news
			c.followers = append(c.followers, f)
			c.done.Go(func() { f.run(ctx) })
		}
	}
	return c
}

// wait waits until all have seen a revision of a life that changed something for each of them. One that gave up never will,
// and has told why.
func (c *crowd) wait(of *life, revision int64) error {
	end := time.Now().Add(patience)
	alarm := time.AfterFunc(patience, c.news.cond.Broadcast)
	defer alarm.Stop()
	c.news.Lock()
	defer c.news.Unlock()
	for _, f := range c.followers {
		for f.seenLife != of || f.seen < revision {
			if f.gaveUp || time.Now().After(end) {
				return fmt.Errorf("watch of %s: is at %d, and should be at %d", f.want.key, f.seen, revision)
			}
			c.news.cond.Wait()
		}
	}
	return nil
}

// finish ends the followers and holds what they have against the store. How often they had to list again.
func (c *crowd) finish(j *judge, s *store) int {
	if err := c.wait(s.life, s.life.revision()); err != nil {
		j.missed("%v", err)
	}
	c.cancel()
	c.done.Wait()
	client := s.connect(s.address)
	defer client.Close()
	relists := 0
	for _, f := range c.followers {
		relists += f.relists
		ctx, cancel := patiently()
		got, err := client.Get(ctx, f.want.key, clientv3.WithRange(f.want.end))
		cancel()
		must(err)
		if !j.equal(f.held, withoutMarkers(got.Kvs), "what the watch of %s ended with", f.want.key) {
			j.lost.Add(1)
		}
	}
	return relists
}
