package main

import (
	"cmp"
	"slices"
	"strings"
	"sync"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

const (
	prefix = "/apisix"
	marker = "init_dir"
)

// pair is a key with its value and its life so far.
type pair struct {
	key, value           string
	create, mod, version int64
}

// event is what a commit did to a key. A pair of version 0 is none.
type event struct {
	now, before pair
}

func (e event) isDelete() bool { return e.now.version == 0 }

// commit is all that happened at one revision, sorted by key.
type commit struct {
	revision int64
	events   []event
}

// changes are what a commit is made from. Keys are the store's, without the prefix.
type changes struct {
	Puts    map[string]string `json:"puts,omitempty"`
	Deletes []string          `json:"deletes,omitempty"`
}

// life is the history of a store as every client must see it, from its first revision until its state is lost.
type life struct {
	mu      sync.Mutex
	news    *sync.Cond
	commits []commit
	objects map[string]pair
	isOver  bool
}

func newLife() *life {
	l := &life{objects: map[string]pair{}}
	l.news = sync.NewCond(&l.mu)
	return l
}

// apply adds a commit that the store has made.
func (l *life) apply(revision int64, made changes) {
	l.mu.Lock()
	defer l.mu.Unlock()
	next := commit{revision: revision}
	for key, value := range made.Puts {
		before := l.objects[prefix+key]
		if before.version > 0 && before.value == value {
			continue
		}
		now := pair{prefix + key, value, before.create, revision, before.version + 1}
		if before.version == 0 {
			now.create = revision
		}
		l.objects[prefix+key] = now
		next.events = append(next.events, event{now, before})
	}
	for _, key := range made.Deletes {
		if before, is := l.objects[prefix+key]; is {
			delete(l.objects, prefix+key)
			next.events = append(next.events, event{pair{key: prefix + key, mod: revision}, before})
		}
	}
	if len(next.events) > 0 || len(l.commits) == 0 {
		sortEvents(next.events)
		l.commits = append(l.commits, next)
	}
	l.news.Broadcast()
}

// end says that no commit follows.
func (l *life) end() {
	l.mu.Lock()
	l.isOver = true
	l.mu.Unlock()
	l.news.Broadcast()
}

// next is the first commit at a place or after it that an interest has events of, with these and the place after it; it
// waits for the commit of this revision where it is not known yet.
func (l *life) next(place int, want interest, revision int64) (commit, int, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.last() < revision && !l.isOver {
		l.news.Wait()
	}
	for ; place < len(l.commits); place++ {
		if events := want.of(l.commits[place]); len(events) > 0 {
			return commit{l.commits[place].revision, events}, place + 1, true
		}
	}
	return commit{}, place, false
}

// last is called with the lock.
func (l *life) last() int64 {
	if len(l.commits) == 0 {
		return 0
	}
	return l.commits[len(l.commits)-1].revision
}

func (l *life) revision() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last()
}

// at is what a list at a revision must show, and the place of the next commit.
func (l *life) at(revision int64, want interest) (map[string]pair, int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.last() < revision && !l.isOver {
		l.news.Wait()
	}
	held, place := map[string]pair{}, 0
	for ; place < len(l.commits) && l.commits[place].revision <= revision; place++ {
		fold(held, l.commits[place].events)
	}
	for key := range held {
		if !want.has(key) {
			delete(held, key)
		}
	}
	return held, place
}

func fold(held map[string]pair, events []event) {
	for _, event := range events {
		if event.isDelete() {
			delete(held, event.now.key)
		} else {
			held[event.now.key] = event.now
		}
	}
}

// interest is what a watch asks for.
type interest struct {
	key, end                    string
	noPuts, noDeletes, previous bool
}

func below(directory string) interest {
	return interest{key: directory, end: clientv3.GetPrefixRangeEnd(directory)}
}

func (i interest) has(key string) bool {
	switch i.end {
	case "":
		return key == i.key
	case "\x00":
		return key >= i.key
	default:
		return key >= i.key && key < i.end
	}
}

// of is the commit's events, as the watch must get them.
func (i interest) of(made commit) []event {
	var wanted []event
	for _, e := range made.events {
		if !i.has(e.now.key) || e.isDelete() && i.noDeletes || !e.isDelete() && i.noPuts {
			continue
		}
		if !i.previous {
			e.before = pair{}
		}
		wanted = append(wanted, e)
	}
	return wanted
}

func (i interest) options() []clientv3.OpOption {
	var options []clientv3.OpOption
	if i.end != "" {
		options = append(options, clientv3.WithRange(i.end))
	}
	if i.noPuts {
		options = append(options, clientv3.WithFilterPut())
	}
	if i.noDeletes {
		options = append(options, clientv3.WithFilterDelete())
	}
	if i.previous {
		options = append(options, clientv3.WithPrevKV())
	}
	return options
}

func pairOf(kv *mvccpb.KeyValue) pair {
	if kv == nil {
		return pair{}
	}
	return pair{string(kv.Key), string(kv.Value), kv.CreateRevision, kv.ModRevision, kv.Version}
}

func eventOf(e *clientv3.Event) event {
	return event{pairOf(e.Kv), pairOf(e.PrevKv)}
}

// commitsOf is a message's events by revision.
func commitsOf(events []*clientv3.Event) []commit {
	var made []commit
	for _, e := range events {
		if len(made) == 0 || made[len(made)-1].revision != e.Kv.ModRevision {
			made = append(made, commit{revision: e.Kv.ModRevision})
		}
		last := &made[len(made)-1]
		last.events = append(last.events, eventOf(e))
	}
	for i := range made {
		sortEvents(made[i].events)
	}
	return made
}

func sortEvents(events []event) {
	slices.SortFunc(events, func(a, b event) int { return cmp.Compare(a.now.key, b.now.key) })
}

// withoutMarkers is a list's objects.
func withoutMarkers(kvs []*mvccpb.KeyValue) map[string]pair {
	held := map[string]pair{}
	for _, kv := range kvs {
		if string(kv.Value) != marker || !strings.HasSuffix(string(kv.Key), "/") {
			held[string(kv.Key)] = pairOf(kv)
		}
	}
	return held
}
