package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// flow makes random changes; every one of them changes something.
type flow struct {
	dice
	made int
}

func (f *flow) value() string {
	f.made++
	padding := 0
	if f.in(20) {
		padding = f.IntN(4096)
	}
	return fmt.Sprintf(`{"n":%d,"desc":%q}`, f.made, strings.Repeat("x", padding))
}

func (f *flow) key() string {
	directory := []string{"/routes/", "/upstreams/"}[f.IntN(2)]
	return fmt.Sprintf("%s%d", directory, f.IntN(40))
}

// next is a few puts, and deletions of what need not be there.
func (f *flow) next() changes {
	made := changes{Puts: map[string]string{}}
	for range f.between(1, 4) {
		made.Puts[f.key()] = f.value()
	}
	deletes := map[string]bool{}
	for range f.IntN(3) {
		if key := f.key(); made.Puts[key] == "" {
			deletes[key] = true
		}
	}
	made.Deletes = slices.Sorted(maps.Keys(deletes))
	return made
}

// pulse changes something for everybody.
func (f *flow) pulse() changes {
	return changes{Puts: map[string]string{"/routes/pulse": f.value(), "/upstreams/pulse": f.value()}}
}

// named are the objects that name a life.
func named(life string) map[string]string {
	return map[string]string{"/routes/" + lifeKey: life, "/upstreams/" + lifeKey: life}
}
