package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strconv"
	"strings"
)

// ctls compare what each etcdctl shows of both.
func (b *beside) ctls(programs []string) {
	for _, program := range programs {
		version, _ := b.run(program, b.address, "version")
		name, _, _ := strings.Cut(version, "\n")
		b.ctl(program, name)
	}
}

func (b *beside) ctl(program, name string) {
	const directory = prefix + "/routes/"
	old := b.known[len(b.known)-50]
	for _, arguments := range [][]string{
		{"get", directory, "--prefix"},
		{"get", directory, "--prefix", "--keys-only"},
		{"get", directory, "--prefix", "--print-value-only", "--limit", "3"},
		{"get", directory, "--from-key", "--limit", "5"},
		{"get", directory, directory + "3", "--order", "DESCEND", "--sort-by", "KEY"},
		{"get", directory, "--prefix", "--count-only", "-w", "fields"},
		{"get", directory, "--prefix", "--consistency", "s"},
		{"get", directory, "--prefix", "--rev", fmt.Sprint(old)},
		{"get", directory, "--prefix", "--rev", fmt.Sprint(b.known[0])},
		{"get", directory, "--prefix", "-w", "json"},
		{"get", directory, "--prefix", "-w", "json", "--rev", fmt.Sprint(old)},
		{"get", directory, "--prefix", "--count-only", "-w", "json"},
		{"get", prefix + "/nothing", "-w", "json"},
		{"get", ""},
		{"lease", "timetolive", "77"},
		{"lease", "revoke", "77"},
		{"lease", "keep-alive", "77"},
		{"endpoint", "health"},
		{"endpoint", "health", "-w", "json"},
		{"alarm", "list"},
	} {
		ours, oursFailed := b.run(program, b.store.address, arguments...)
		real, realFailed := b.run(program, b.address, b.forReal(arguments)...)
		b.equal(oursFailed == nil, realFailed == nil, "%s %v: %s", name, arguments, ours)
		b.equal(b.plain(ours), plainReal(real), "%s %v", name, arguments)
	}
	b.ctlWatch(program, name, directory)
	b.ctlLease(program, name)
	b.ctlCluster(program, name)
	for _, arguments := range [][]string{{"put", "/apisix/routes/1", "{}"}, {"del", "/apisix/routes/1"}, {"compaction", fmt.Sprint(old)}} {
		text, failed := b.run(program, b.store.address, arguments...)
		b.that(failed != nil && strings.Contains(text, "permission denied"), "%s %v: %s", name, arguments, text)
	}
}

// run is what a command prints, its last error too, and whether it failed. Log lines are left out.
func (b *beside) run(program, address string, arguments ...string) (string, error) {
	ctx, cancel := patiently()
	defer cancel()
	command := exec.CommandContext(ctx, program, append([]string{"--endpoints", address}, arguments...)...)
	var errors strings.Builder
	command.Stderr = &errors
	text, err := command.Output()
	if at := strings.LastIndex(errors.String(), "Error: "); at >= 0 {
		text = append(text, errors.String()[at:]...)
	}
	return string(text), err
}

// forReal are the arguments with the real etcd's revisions.
func (b *beside) forReal(arguments []string) []string {
	its := slices.Clone(arguments)
	for i, word := range its {
		if revision, err := strconv.ParseInt(word, 10, 64); err == nil && i > 0 && its[i-1] == "--rev" {
			its[i] = fmt.Sprint(b.toReal[revision])
		}
	}
	return its
}

// plain is an output of ours with the real etcd's revisions, and without what differs from run to run.
func (b *beside) plain(text string) any {
	return plainly(text, func(revision int64) int64 { return b.toReal[revision] })
}

func plainReal(text string) any {
	return plainly(text, func(revision int64) int64 { return revision })
}

func plainly(text string, mapped func(int64) int64) any {
	var value any
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.UseNumber()
	if strings.ContainsAny(text[:min(1, len(text))], "{[") && decoder.Decode(&value) == nil {
		return plainJSON(value, mapped)
	}
	var lines []string
	for line := range strings.Lines(text) {
		name, number, _ := strings.Cut(strings.TrimSpace(line), " : ")
		switch name {
		case `"Revision"`:
			revision, _ := strconv.ParseInt(number, 10, 64)
			line = fmt.Sprintf("%s : %d\n", name, mapped(revision))
		case `"ClusterID"`, `"MemberID"`, `"RaftTerm"`:
			continue
		}
		if _, rest, is := strings.Cut(line, " is healthy: "); is {
			line, _, _ = strings.Cut(rest, ":")
		}
		lines = append(lines, line)
	}
	return lines
}

func plainJSON(value any, mapped func(int64) int64) any {
	switch it := value.(type) {
	case []any:
		for i := range it {
			it[i] = plainJSON(it[i], mapped)
		}
	case map[string]any:
		for name, member := range it {
			switch name {
			case "cluster_id", "member_id", "raft_term", "endpoint", "took":
				delete(it, name)
			case "revision", "create_revision", "mod_revision":
				number, _ := member.(json.Number).Int64()
				it[name] = mapped(number)
			default:
				it[name] = plainJSON(member, mapped)
			}
		}
	}
	return value
}

// ctlWatch compares the events of a directory, which etcd may spread over other messages.
func (b *beside) ctlWatch(program, name, directory string) {
	want, last := below(directory), int64(0)
	for _, made := range b.store.life.commits {
		if len(want.of(made)) > 0 {
			last = made.revision
		}
	}
	events := func(address string, from, last int64, mapped func(int64) int64) (all []any) {
		command := exec.Command(program, "--endpoints", address, "watch", directory, "--prefix", "--prev-kv",
			"--rev", fmt.Sprint(from), "-w", "json")
		out, err := command.StdoutPipe()
		must(err)
		must(command.Start())
		defer func() {
			_ = command.Process.Kill()
			_ = command.Wait()
		}()
		decoder := json.NewDecoder(out)
		decoder.UseNumber()
		for seen := int64(0); seen < last; {
			var message struct{ Events []map[string]any }
			must(decoder.Decode(&message))
			for _, event := range message.Events {
				seen, _ = event["kv"].(map[string]any)["mod_revision"].(json.Number).Int64()
				all = append(all, plainJSON(event, mapped))
			}
		}
		return all
	}
	old := b.known[len(b.known)-200]
	ours := events(b.store.address, old, last, func(revision int64) int64 { return b.toReal[revision] })
	real := events(b.address, b.toReal[old], b.toReal[last], func(revision int64) int64 { return revision })
	b.equal(ours, real, "%s watch %s", name, directory)
}

// ctlLease is the life of a lease.
func (b *beside) ctlLease(program, name string) {
	text, failed := b.run(program, b.store.address, "lease", "grant", "60")
	fields := strings.Fields(text)
	if !b.that(failed == nil && len(fields) > 2 && strings.Contains(text, "granted with TTL(60s)"), "%s lease grant: %s", name, text) {
		return
	}
	id := fields[slices.Index(fields, "lease")+1]
	for _, it := range []struct {
		arguments []string
		shows     string
	}{
		{[]string{"lease", "keep-alive", "--once", id}, "TTL(60)"},
		{[]string{"lease", "timetolive", id, "--keys"}, "granted with TTL(60s)"},
		{[]string{"lease", "list"}, id},
		{[]string{"lease", "revoke", id}, "revoked"},
	} {
		text, failed := b.run(program, b.store.address, it.arguments...)
		b.that(failed == nil && strings.Contains(text, it.shows), "%s %v: %s", name, it.arguments, text)
	}
}

// ctlCluster is what monitors ask for, in every form.
func (b *beside) ctlCluster(program, name string) {
	for _, format := range []string{"simple", "fields", "table"} {
		for _, what := range [][]string{{"member", "list"}, {"endpoint", "status"}, {"endpoint", "health"}, {"endpoint", "hashkv"}} {
			text, failed := b.run(program, b.store.address, append(what, "-w", format)...)
			b.that(failed == nil, "%s %v -w %s: %s", name, what, format, text)
		}
	}
	var statuses []struct {
		Status struct {
			Header struct {
				MemberID json.Number `json:"member_id"`
				Revision int64
			}
			Version string
			Leader  json.Number
		}
	}
	text, failed := b.run(program, b.store.address, "endpoint", "status", "-w", "json")
	err := errors.Join(failed, json.Unmarshal([]byte(text), &statuses))
	if b.that(err == nil && len(statuses) == 1, "%s endpoint status: %v %s", name, err, text) {
		it := statuses[0].Status
		b.that(it.Header.Revision == b.last() && it.Version != "" && it.Leader == it.Header.MemberID, "%s endpoint status: %+v", name, it)
	}
	var members struct{ Members []any }
	text, failed = b.run(program, b.store.address, "member", "list", "-w", "json")
	err = errors.Join(failed, json.Unmarshal([]byte(text), &members))
	if !b.that(err == nil && len(members.Members) == 1, "%s member list: %v %s", name, err, text) {
		return
	}
	text, failed = b.run(program, b.store.address, "endpoint", "health", "--cluster")
	b.that(failed == nil, "%s endpoint health --cluster: %s", name, text)
}
