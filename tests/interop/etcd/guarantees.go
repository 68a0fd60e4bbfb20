package main

import (
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

const (
	clientsCut       = 8
	clientsRestarted = 4
	// Pulses that a watch may be behind, so that no client falls out of the history: that is what the others are about.
	pulsesBehind = 8
)

// cuts cuts connections at random bytes while changes flow; how many, and how often somebody had to list again.
func cuts(j *judge, program string, wanted int64, seed uint64) (int64, int) {
	s, known := open(program, settings{}), &lives{}
	defer s.kill()
	known.add("0", s.life)
	s.commit(changes{Puts: named("0")})

	var done atomic.Int64
	var proxies []*proxy
	var clients []*clientv3.Client
	for i := range clientsCut {
		d := newDice(seed, 100+uint64(i))
		p := newProxy(s.address, nil)
		p.budget = func() int64 {
			if done.Add(1) > wanted {
				return -1
			}
			return int64(math.Pow(2, 4+16*d.Float64()))
		}
		proxies = append(proxies, p)
		clients = append(clients, connect(p.address()))
	}
	c := gather(j, known, clients)
	f := flow{dice: newDice(seed, 1)}
	count := func() (sum int64) {
		for _, p := range proxies {
			sum += p.cuts.Load()
		}
		return sum
	}
	var pulses []int64
	for count() < wanted {
		for range 20 {
			s.order(f.next())
		}
		s.settle()
		pulses = append(pulses, s.commit(f.pulse()))
		if len(pulses) > pulsesBehind {
			if err := c.wait(s.life, pulses[len(pulses)-pulsesBehind]); err != nil {
				j.missed("%v", err)
				break
			}
		}
	}
	s.commit(f.pulse())
	relists := c.finish(j, s)
	j.equal(relists, 0, "lists after cuts, which the history bridges")
	for _, client := range clients {
		client.Close()
	}
	return count(), relists
}

// restarts kills the process and starts it again, on what it kept or with nothing.
type restarts struct {
	judge   *judge
	store   *store
	known   *lives
	flow    flow
	crowd   *crowd
	proxies []*proxy
	clients []*clientv3.Client
	folder  string
	with    settings
}

func newRestarts(j *judge, program, folder string, with *access, d dice) *restarts {
	r := &restarts{judge: j, known: &lives{}, flow: flow{dice: d}, folder: folder}
	r.with = settings{folder: filepath.Join(folder, "0"), access: with}
	r.store = open(program, r.with)
	r.known.add("0", r.store.life)
	r.store.commit(changes{Puts: named("0")})
	for range clientsRestarted {
		p := newProxy(r.store.address, func() int64 { return -1 })
		r.proxies = append(r.proxies, p)
		r.clients = append(r.clients, r.store.connect(p.address()))
	}
	r.crowd = gather(j, r.known, r.clients)
	return r
}

func (r *restarts) aim() {
	for _, p := range r.proxies {
		p.aim(r.store.address)
	}
}

// settle lets everybody see a pulse, most of the time; whether all did.
func (r *restarts) settle() bool {
	revision := r.store.commit(r.flow.pulse())
	if r.flow.in(4) {
		return true
	}
	err := r.crowd.wait(r.store.life, revision)
	if err != nil {
		r.judge.missed("%v", err)
	}
	return err == nil
}

func (r *restarts) finish() int {
	r.store.commit(r.flow.pulse())
	relists := r.crowd.finish(r.judge, r.store)
	for _, client := range r.clients {
		client.Close()
	}
	r.store.kill()
	os.RemoveAll(r.folder)
	return relists
}

// kept restarts a process on the folder that the killed one wrote, in the middle of its commits.
func kept(j *judge, program string, wanted int, seed uint64) (int, int) {
	folder := temporary()
	r := newRestarts(j, program, folder, nil, newDice(seed, 2))
	done := 0
	for ; done < wanted && r.settle(); done++ {
		for range r.flow.between(0, 20) {
			r.store.order(r.flow.next())
		}
		for range r.flow.IntN(len(r.store.pending) + 1) {
			r.store.take()
		}
		r.store.kill()
		err := r.store.resume(r.with)
		if !r.judge.that(err == nil, "%v", err) {
			r.judge.lost.Add(1)
		}
		r.aim()
	}
	return done, r.finish()
}

// forgotten restarts a process without its state: in an empty folder, or with no folder and with a clock that is behind,
// so that clients come with revisions of the future. They come over TLS and with a password.
func forgotten(j *judge, program string, wanted int, seed uint64) (int, int) {
	folder := temporary()
	r := newRestarts(j, program, folder, newAccess(folder), newDice(seed, 3))
	done := 0
	for ; done < wanted && r.settle(); done++ {
		for range r.flow.between(0, 20) {
			r.store.order(r.flow.next())
		}
		r.store.settle()
		r.waitForClock()
		r.store.kill()
		name := fmt.Sprint(done + 1)
		r.with = settings{folder: filepath.Join(r.folder, name), access: r.store.access}
		if r.flow.in(2) {
			r.with = settings{clockBehind: 3600 + 60*float64(done), access: r.store.access}
		}
		objects := named(name)
		former := r.store.life.objects
		for _, key := range slices.Sorted(maps.Keys(former)) {
			if name := key[len(prefix):]; !r.flow.in(4) && objects[name] == "" {
				objects[name] = former[key].value
			}
		}
		maps.Copy(objects, r.flow.next().Puts)
		r.begin(name, objects)
	}
	return done, r.finish()
}

func (r *restarts) begin(name string, objects map[string]string) {
	r.store.begin(r.with, objects, func(next *life) {
		r.known.add(name, next)
		r.aim()
	})
}

// waitForClock waits until the clock has passed the last revision: a life that made more than a commit a millisecond is
// ahead of it, and one that knows nothing of that life could begin at revisions that are taken.
func (r *restarts) waitForClock() {
	for time.Now().UnixMilli() <= r.store.life.revision()+1 {
		time.Sleep(time.Millisecond)
	}
}
