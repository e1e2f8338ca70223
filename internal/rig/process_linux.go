package rig

import (
	"errors"
	"syscall"
)

// processAttr puts the program into a process group of its own, so that its
// workers can be signalled with it, and has the kernel kill it when the test
// binary dies without a cleanup.
func processAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// Pause stops the program and its children with SIGSTOP: its sockets stay open,
// the kernel still takes bytes for it, and nothing is read.
func (p *Process) Pause() {
	p.t.Helper()
	if err := p.signalGroup(syscall.SIGSTOP); err != nil {
		p.t.Fatalf("rig: pausing %s: %v", p.spec.Name, err)
	}
}

// Continue ends a Pause.
func (p *Process) Continue() {
	p.t.Helper()
	if err := p.signalGroup(syscall.SIGCONT); err != nil {
		p.t.Fatalf("rig: continuing %s: %v", p.spec.Name, err)
	}
}

func (p *Process) killGroup() { p.signalGroup(syscall.SIGKILL) }
func (p *Process) resume()    { p.signalGroup(syscall.SIGCONT) }

func (p *Process) signalGroup(sig syscall.Signal) error {
	if !p.Running() {
		return nil
	}
	if err := syscall.Kill(-p.PID(), sig); err != nil && !errors.Is(err, syscall.ESRCH) {
		return err
	}
	return nil
}
