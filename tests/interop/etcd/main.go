// The official Go client and etcdctl as judges of the etcd endpoint: what they are answered, and whether cuts and restarts
// ever leave them with something else than what the store holds.
//
// In: the program that serves a store (examples/etcd_store.rs), a real etcd and etcdctls, all built. Out: one line each for
// what is wrong, and at the end
//
//	etcd clients: checks=N cuts=N restarts_kept=N restarts_lost=N lost=0 failed=0
package main

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"time"
)

// words are the values of a flag that may be given more than once; an empty one is none.
type words []string

func (w *words) String() string { return strings.Join(*w, ",") }

func (w *words) Set(value string) error {
	if value != "" {
		*w = append(*w, value)
	}
	return nil
}

func main() {
	program := flag.String("store", "", "the program that serves a store")
	etcd := flag.String("etcd", "", "a real etcd")
	var etcdctls words
	flag.Var(&etcdctls, "etcdctl", "an etcdctl; may be given again")
	wantedCuts := flag.Int("cuts", 200, "connections to cut")
	wantedRestarts := flag.Int("restarts", 20, "restarts with the state kept, and with the state lost")
	seed := flag.Uint64("seed", uint64(time.Now().UnixNano()), "of the random choices")
	flag.Parse()
	fmt.Printf("# seed %d\n", *seed)

	j, began := &judge{}, time.Now()
	tell := func(part string, details ...any) {
		fmt.Printf("# %s: %d checks so far, %.1f s", part, j.checks.Load(), time.Since(began).Seconds())
		fmt.Println(details...)
	}
	reads(j, *program)
	refusals(j, *program)
	leases(j, *program)
	cluster(j, *program)
	maintenance(j, *program)
	secured(j, *program)
	replays(j, *program, *seed)
	progress(j, *program, *seed)
	wholeCommits(j, *program)
	fragments(j, *program)
	control(j, *program)
	tell("calls and watches")
	b := newBeside(j, *program, *etcd, *seed)
	b.compare(400, 100)
	tell("beside a real etcd")
	b.ctls(etcdctls)
	b.close()
	tell("etcdctl")
	cut, relists := cuts(j, *program, int64(*wantedCuts), *seed)
	tell("cuts", ", lists again: ", relists)
	resumed, relists := kept(j, *program, *wantedRestarts, *seed)
	tell("restarts with the state kept", ", lists again: ", relists)
	anew, relists := forgotten(j, *program, *wantedRestarts, *seed)
	tell("restarts with the state lost", ", lists again: ", relists)

	fmt.Printf("etcd clients: checks=%d cuts=%d restarts_kept=%d restarts_lost=%d lost=%d failed=%d\n",
		j.checks.Load(), cut, resumed, anew, j.lost.Load(), j.failed.Load())
	if j.failed.Load() > 0 || j.lost.Load() > 0 {
		os.Exit(1)
	}
}
