package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// store is the process that serves our endpoint, with what it must have told its clients.
type store struct {
	program  string
	process  *exec.Cmd
	commands io.WriteCloser
	answers  *bufio.Scanner
	address  string
	life     *life
	access   *access
	// Commands without an answer yet.
	pending []changes
}

// settings of a process.
type settings struct {
	folder           string
	commits          int
	progressInterval float64
	clockBehind      float64
	access           *access
}

func (s settings) arguments() []string {
	var words []string
	add := func(is bool, name, value string) {
		if is {
			words = append(words, name, value)
		}
	}
	number := func(value float64) string { return strconv.FormatFloat(value, 'f', -1, 64) }
	add(s.folder != "", "--state-dir", s.folder)
	add(s.commits != 0, "--max-commits", strconv.Itoa(s.commits))
	add(s.progressInterval != 0, "--progress-interval", number(s.progressInterval))
	add(s.clockBehind != 0, "--clock-behind", number(s.clockBehind))
	if s.access != nil {
		words = append(words, "--login", s.access.user+":"+s.access.password, "--tls", s.access.files)
	}
	return words
}

// open starts a process with a life of its own, and gives it a first commit.
func open(program string, with settings) *store {
	s := &store{program: program, life: newLife(), access: with.access}
	s.start(with)
	s.commit(changes{})
	return s
}

// connect makes a client, for the store's own address or that of a proxy.
func (s *store) connect(address string) *clientv3.Client {
	client, err := dial(context.Background(), address, s.access)
	must(err)
	return client
}

// stage is a store and a client of it, for as long as a test has patience; done ends them.
func stage(program string, with settings) (s *store, client *clientv3.Client, ctx context.Context, done func()) {
	s = open(program, with)
	client = connect(s.address)
	ctx, cancel := patiently()
	return s, client, ctx, func() {
		cancel()
		client.Close()
		s.kill()
	}
}

// start starts the process; the revision that it found in its folder.
func (s *store) start(with settings) int64 {
	s.process = exec.Command(s.program, with.arguments()...)
	s.process.Stderr = os.Stderr
	commands, err := s.process.StdinPipe()
	must(err)
	answers, err := s.process.StdoutPipe()
	must(err)
	must(s.process.Start())
	s.commands, s.answers = commands, bufio.NewScanner(answers)
	var up struct {
		Address  string
		Revision int64
	}
	if !s.read(&up) {
		must(fmt.Errorf("%s does not start", s.program))
	}
	s.address = up.Address
	return up.Revision
}

func (s *store) read(into any) bool {
	if !s.answers.Scan() {
		return false
	}
	must(json.Unmarshal(s.answers.Bytes(), into))
	return true
}

// order sends a commit and does not wait for it.
func (s *store) order(made changes) {
	line, err := json.Marshal(map[string]changes{"commit": made})
	must(err)
	_, err = s.commands.Write(append(line, '\n'))
	must(err)
	s.pending = append(s.pending, made)
}

// take takes the answer to the oldest order; none comes from a process that is gone.
func (s *store) take() bool {
	var answer struct {
		Revision int64
		Error    string
	}
	if !s.read(&answer) {
		return false
	}
	if answer.Error != "" {
		must(fmt.Errorf("the store: %s", answer.Error))
	}
	s.life.apply(answer.Revision, s.pending[0])
	s.pending = s.pending[1:]
	return true
}

// settle takes the answers to all orders.
func (s *store) settle() {
	for len(s.pending) > 0 {
		if !s.take() {
			must(fmt.Errorf("the store is gone"))
		}
	}
}

// commit makes a commit; the revision after it.
func (s *store) commit(made changes) int64 {
	s.order(made)
	s.settle()
	return s.life.revision()
}

// kill ends the process at once, as a crash does, and takes what it had still answered.
func (s *store) kill() {
	must(s.process.Process.Kill())
	for len(s.pending) > 0 && s.take() {
	}
	_ = s.process.Wait()
}

// resume starts the process again on what it kept. Of the orders that were not answered it may have kept the first.
func (s *store) resume(with settings) error {
	found := s.start(with)
	if found > s.life.revision() && len(s.pending) > 0 {
		s.life.apply(found, s.pending[0])
	}
	s.pending = nil
	if known := s.life.revision(); found != known {
		return fmt.Errorf("the store came back with revision %d, it had answered up to %d", found, known)
	}
	return nil
}

// begin starts a process that knows nothing of the former life, and gives it all its objects in one commit. The new life
// is told of before anybody can see it.
func (s *store) begin(with settings, objects map[string]string, tell func(*life)) {
	s.life.end()
	s.life = newLife()
	s.start(with)
	tell(s.life)
	s.commit(changes{Puts: objects})
}
