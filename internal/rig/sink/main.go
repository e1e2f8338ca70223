// Command sink is a Carbon for the loss tests: it takes lines and pickles and writes each point that it has read to a
// file, before it reads on. The file outlives the process, so that after SIGKILL it tells exactly what had been read.
//
// A line of the file is "LIFE CONNECTION NAME VALUE TIMESTAMP ." with the process id as the life. One without the dot
// was cut by the kill.
package main

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
)

func main() {
	line := flag.String("line", "", "take lines at `HOST:PORT`")
	pickle := flag.String("pickle", "", "take pickles at `HOST:PORT`")
	path := flag.String("log", "", "append what was read to `FILE`")
	faults := flag.String("reset-after", "", "reset the first connections that bring something after so many `BYTES`, one each, comma-separated")
	flag.Parse()
	s, err := open(*path, *faults)
	if err != nil {
		log.Fatal(err)
	}
	failed := make(chan error)
	for addr, read := range map[string]func(*bufio.Reader, func(point)) error{*line: readLines, *pickle: readFrames} {
		if addr == "" {
			continue
		}
		l, err := net.Listen("tcp", addr)
		if err != nil {
			log.Fatal(err)
		}
		go func() { failed <- s.accept(l, read) }()
	}
	log.Fatal(<-failed)
}

// point is what was read, as text.
type point struct{ name, value, timestamp string }

type sink struct {
	file *os.File

	mu     sync.Mutex
	conns  int
	faults []int64
}

func open(path, faults string) (*sink, error) {
	s := &sink{}
	for _, f := range strings.Split(faults, ",") {
		if f == "" {
			continue
		}
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return nil, err
		}
		s.faults = append(s.faults, n)
	}
	var err error
	if s.file, err = os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600); err != nil {
		return nil, err
	}
	_, err = s.file.WriteString("\n") // what the last life left may have no end
	return s, err
}

func (s *sink) accept(l net.Listener, read func(*bufio.Reader, func(point)) error) error {
	for {
		nc, err := l.Accept()
		if err != nil {
			return err
		}
		s.mu.Lock()
		s.conns++
		c := &conn{TCPConn: nc.(*net.TCPConn), sink: s, id: s.conns}
		s.mu.Unlock()
		_ = c.SetLinger(0) // so that a kill does not end in order a connection whose last bytes were not written down
		go c.serve(read)
	}
}

var errReset = errors.New("reset on purpose")

// conn is a connection whose Read first writes down what came of the Read before.
type conn struct {
	*net.TCPConn
	sink *sink
	id   int
	out  []byte

	asked bool  // whether it is to be reset
	left  int64 // bytes until then; -1: never
}

func (c *conn) serve(read func(*bufio.Reader, func(point)) error) {
	err := read(bufio.NewReaderSize(c, 64<<10), func(p point) {
		c.out = fmt.Appendf(c.out, "%d %d %s %s %s .\n", os.Getpid(), c.id, p.name, p.value, p.timestamp)
	})
	c.write()
	if err == io.EOF {
		_ = c.SetLinger(-1)
	} else {
		log.Printf("connection %d: %v", c.id, err)
	}
	_ = c.Close()
}

// write appends to the file at once, so that connections do not mix.
func (c *conn) write() {
	if _, err := c.sink.file.Write(c.out); err != nil {
		log.Fatal(err)
	}
	c.out = c.out[:0]
}

// Read ends with errReset once a fault has had its bytes; what the kernel gave beyond them is thrown away.
func (c *conn) Read(b []byte) (int, error) {
	c.write()
	n, err := c.TCPConn.Read(b)
	if n > 0 && !c.asked {
		c.asked, c.left = true, c.sink.nextFault()
	}
	if !c.asked || c.left < 0 {
		return n, err
	}
	if int64(n) >= c.left {
		return int(c.left), errReset
	}
	c.left -= int64(n)
	return n, err
}

// nextFault is asked once for each connection that brings something.
func (s *sink) nextFault() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.faults) == 0 {
		return -1
	}
	n := s.faults[0]
	s.faults = s.faults[1:]
	return n
}

// readLines reads to the end. A last line without its newline is none.
func readLines(r *bufio.Reader, take func(point)) error {
	for {
		text, err := r.ReadString('\n')
		if err != nil {
			return err
		}
		f := strings.Fields(text)
		if len(f) != 3 {
			return fmt.Errorf("no point: %q", text)
		}
		take(point{f[0], f[1], f[2]})
	}
}
