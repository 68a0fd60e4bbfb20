package main

import (
	"fmt"
	"sync"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

const (
	// Commits that our store keeps; the others are compacted, in the real etcd too.
	kept300 = 300
	commits = 400
)

// beside is a store of ours and a real etcd with the same history.
type beside struct {
	*judge
	flow
	store      *store
	ours, real *clientv3.Client
	address    string
	// Revisions of ours, oldest first, and what they are in the real etcd. The first has the markers.
	known  []int64
	toReal map[int64]int64
	end    func()
}

// newBeside loads both with one random history.
func newBeside(j *judge, program, etcd string, seed uint64) *beside {
	address, end := startEtcd(etcd)
	b := &beside{judge: j, flow: flow{dice: newDice(seed, 20)}, address: address, end: end, toReal: map[int64]int64{}}
	b.store = open(program, settings{commits: kept300})
	b.ours, b.real = connect(b.store.address), connect(address)
	var markers []clientv3.Op
	for _, directory := range directories {
		markers = append(markers, clientv3.OpPut(prefix+"/"+directory+"/", marker))
	}
	b.load(b.store.life.revision(), markers)
	ctx, cancel := patiently()
	defer cancel()
	watch := b.ours.Watch(ctx, prefix, clientv3.WithPrefix(), clientv3.WithRev(b.known[0]+1))
	for range commits {
		for last := b.store.commit(b.next()); b.known[len(b.known)-1] < last; {
			got := <-watch
			must(got.Err())
			b.copy(got.Events)
		}
	}
	_, err := b.real.Compact(ctx, b.toReal[b.oldest()])
	must(err)
	return b
}

func (b *beside) close() {
	b.ours.Close()
	b.real.Close()
	b.store.kill()
	b.end()
}

// load makes a commit of ours in the real etcd.
func (b *beside) load(revision int64, operations []clientv3.Op) {
	ctx, cancel := patiently()
	defer cancel()
	made, err := b.real.Txn(ctx).Then(operations...).Commit()
	must(err)
	b.known = append(b.known, revision)
	b.toReal[revision] = made.Header.Revision
}

// copy makes the commits that were watched, in their order.
func (b *beside) copy(events []*clientv3.Event) {
	for i := 0; i < len(events); {
		revision := events[i].Kv.ModRevision
		var operations []clientv3.Op
		for ; i < len(events) && events[i].Kv.ModRevision == revision; i++ {
			if key := string(events[i].Kv.Key); events[i].Type == clientv3.EventTypeDelete {
				operations = append(operations, clientv3.OpDelete(key))
			} else {
				operations = append(operations, clientv3.OpPut(key, string(events[i].Kv.Value)))
			}
		}
		b.load(revision, operations)
	}
}

func (b *beside) last() int64 { return b.known[len(b.known)-1] }

func (b *beside) oldest() int64 { return b.known[len(b.known)-kept300] }

// any is a revision in ours and in the real etcd; now and then one that is compacted, or one too many.
func (b *beside) any() (int64, int64) {
	if b.in(20) {
		return b.last() + 1, b.toReal[b.last()] + 1
	}
	revision := b.known[b.IntN(len(b.known))]
	return revision, b.toReal[revision]
}

// mapped is a pair of ours with the real etcd's revisions.
func (b *beside) mapped(it pair) pair {
	it.create, it.mod = b.toReal[it.create], b.toReal[it.mod]
	return it
}

// compare asks both the same random things.
func (b *beside) compare(gets, watches int) {
	for range gets {
		b.compareGet()
	}
	for range gets / 4 {
		b.compareTxn()
	}
	var all sync.WaitGroup
	for i := range watches {
		want := anyInterest(b.dice)
		// From the second revision on: the first has the markers, which come without an event.
		from, fragment := b.known[b.between(1, len(b.known)-1)], b.in(3)
		all.Go(func() { b.compareWatch(i, want, from, fragment) })
	}
	all.Wait()
}

var anchors = []string{
	prefix, prefix + "/routes/", prefix + "/routes/5", prefix + "/upstreams/", prefix + "/upstreams/7", "/", "\x00", "zzz",
}

// anyGet is the same request for both, and the column that it is sorted by.
func (b *beside) anyGet() (string, []clientv3.OpOption, []clientv3.OpOption, clientv3.SortTarget) {
	key := anchors[b.IntN(len(anchors))]
	var ours, real []clientv3.OpOption
	both := func(option clientv3.OpOption) { ours, real = append(ours, option), append(real, option) }
	at := func(option func(int64) clientv3.OpOption) {
		if b.in(4) {
			mine, its := b.any()
			ours, real = append(ours, option(mine)), append(real, option(its))
		}
	}
	switch b.IntN(4) {
	case 0:
		both(clientv3.WithPrefix())
	case 1:
		both(clientv3.WithFromKey())
	case 2:
		both(clientv3.WithRange(anchors[b.IntN(len(anchors))]))
	}
	at(clientv3.WithRev)
	at(clientv3.WithMinModRev)
	at(clientv3.WithMaxModRev)
	at(clientv3.WithMinCreateRev)
	at(clientv3.WithMaxCreateRev)
	target := clientv3.SortByKey
	if b.in(2) {
		target = clientv3.SortTarget(b.IntN(5))
		both(clientv3.WithSort(target, clientv3.SortOrder(b.IntN(3))))
	}
	both(clientv3.WithLimit(int64(b.IntN(8))))
	for _, option := range []func() clientv3.OpOption{clientv3.WithKeysOnly, clientv3.WithCountOnly, clientv3.WithSerializable} {
		if b.in(5) {
			both(option())
		}
	}
	return key, ours, real, target
}

// listed is what can be compared of an answer: where pairs are equal in what they are sorted by, etcd leaves their order
// open, and with a limit which of them are there.
func listed(kvs []pair, target clientv3.SortTarget) []any {
	var column []any
	for _, kv := range kvs {
		column = append(column, map[clientv3.SortTarget]any{
			clientv3.SortByKey: kv, clientv3.SortByVersion: kv.version, clientv3.SortByCreateRevision: kv.create,
			clientv3.SortByModRevision: kv.mod, clientv3.SortByValue: kv.value,
		}[target])
	}
	return column
}

func (b *beside) compareGet() {
	key, forOurs, forReal, target := b.anyGet()
	ctx, cancel := patiently()
	defer cancel()
	ours, oursFailed := b.ours.Get(ctx, key, forOurs...)
	real, realFailed := b.real.Get(ctx, key, forReal...)
	what := fmt.Sprintf("Get %q %+v", key, clientv3.OpGet(key, forReal...))
	if !b.equal(fmt.Sprint(oursFailed), fmt.Sprint(realFailed), "%s", what) || realFailed != nil {
		return
	}
	var mine, its []pair
	for _, kv := range ours.Kvs {
		mine = append(mine, b.mapped(pairOf(kv)))
	}
	for _, kv := range real.Kvs {
		its = append(its, pairOf(kv))
	}
	b.equal(listed(mine, target), listed(its, target), "%s", what)
	b.equal([]any{ours.Count, ours.More, b.toReal[ours.Header.Revision]}, []any{real.Count, real.More, real.Header.Revision}, "%s", what)
}

func (b *beside) compareTxn() {
	key := anchors[b.IntN(len(anchors))]
	mine, its := b.any()
	operator := []string{"=", "!=", "<", ">"}[b.IntN(4)]
	isRange, kind, number := b.in(2), b.IntN(4), b.IntN(4)
	ask := func(client *clientv3.Client, revision int64) (*clientv3.TxnResponse, error) {
		ctx, cancel := patiently()
		defer cancel()
		condition := []clientv3.Cmp{
			clientv3.Compare(clientv3.ModRevision(key), operator, revision),
			clientv3.Compare(clientv3.CreateRevision(key), operator, revision),
			clientv3.Compare(clientv3.Version(key), operator, number),
			clientv3.Compare(clientv3.Value(key), operator, marker),
		}[kind]
		if isRange {
			condition = condition.WithPrefix()
		}
		return client.Txn(ctx).If(condition).Then(clientv3.OpGet(key, clientv3.WithPrefix())).
			Else(clientv3.OpTxn([]clientv3.Cmp{condition}, nil, []clientv3.Op{clientv3.OpGet(key)})).Commit()
	}
	ours, oursFailed := ask(b.ours, mine)
	real, realFailed := ask(b.real, its)
	what := fmt.Sprintf("Txn %q %s, kind %d, range %v", key, operator, kind, isRange)
	if !b.equal(fmt.Sprint(oursFailed), fmt.Sprint(realFailed), "%s", what) || realFailed != nil {
		return
	}
	b.equal(ours.Succeeded, real.Succeeded, "%s", what)
	counts := func(responses []*pb.ResponseOp) (all []int64) {
		for _, it := range responses {
			all = append(all, it.GetResponseRange().GetCount(), int64(len(it.GetResponseTxn().GetResponses())))
		}
		return all
	}
	b.equal(counts(ours.Responses), counts(real.Responses), "%s", what)
}

func (b *beside) compareWatch(name int, want interest, from int64, fragment bool) {
	var options []clientv3.OpOption
	if fragment {
		options = append(options, clientv3.WithFragment())
	}
	mine, oursEnd := replay(b.ours, name, want, from, b.last(), options...)
	its, realEnd := replay(b.real, name, want, b.toReal[from], b.toReal[b.last()], options...)
	for i, made := range mine {
		mine[i].revision = b.toReal[made.revision]
		for k, e := range made.events {
			made.events[k] = event{b.mapped(e.now), b.mapped(e.before)}
		}
	}
	what := fmt.Sprintf("watch of %+v from %d", want, from)
	b.equal(mine, its, "%s", what)
	b.equal(fmt.Sprint(oursEnd.Err()), fmt.Sprint(realEnd.Err()), "%s", what)
	b.equal(b.toReal[oursEnd.CompactRevision], realEnd.CompactRevision, "%s", what)
}
