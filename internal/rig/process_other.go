//go:build !linux

package rig

import "syscall"

func processAttr() *syscall.SysProcAttr { return nil }

func (p *Process) killGroup() { p.cmd.Process.Kill() }
func (p *Process) resume()    {}
