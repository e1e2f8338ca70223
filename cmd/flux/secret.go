package main

import (
	"bufio"
	"fmt"
	"net/url"
	"os"
	"strings"
)

// readLines returns the lines of a file that are neither empty nor comments.
func readLines(path string) ([]string, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var out []string
	s := bufio.NewScanner(f)
	for s.Scan() {
		if line := strings.TrimSpace(s.Text()); line != "" && line[0] != '#' {
			out = append(out, line)
		}
	}
	return out, s.Err()
}

// readSecret returns the first line of a file.
func readSecret(path string) (string, error) {
	lines, err := readLines(path)
	if err == nil && len(lines) == 0 {
		err = fmt.Errorf("%s is empty", path)
	}
	if err != nil {
		return "", err
	}
	return lines[0], nil
}

// readPassword returns the first line of a file as it stands: a password may hold spaces, and begin with a #.
func readPassword(path string) (string, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	line, _, _ := strings.Cut(string(b), "\n")
	if line = strings.TrimSuffix(line, "\r"); line == "" {
		return "", fmt.Errorf("%s is empty, or its first line is", path)
	}
	return line, nil
}

// withPassword puts the password that is a file's first line in an address that names the user.
func withPassword(address, option, fileOption, file string) (string, error) {
	if file == "" {
		return address, nil
	}
	u, err := url.Parse(address)
	switch {
	case err != nil:
		return "", fmt.Errorf("%s is not a URL: write it as http://USER@HOST:PORT", option)
	case u.User.Username() == "":
		return "", fmt.Errorf("%s without a user in %s: write USER@ before the host", fileOption, option)
	case u.User.String() != url.User(u.User.Username()).String():
		return "", fmt.Errorf("%s and a password in %s are both given: keep %[1]s", fileOption, option)
	}
	password, err := readPassword(file)
	if err != nil {
		return "", fmt.Errorf("%s: %w", fileOption, err)
	}
	u.User = url.UserPassword(u.User.Username(), password)
	return u.String(), nil
}

// secret is the value of --NAME, or the first line of the file of --NAME-file.
func secret(name, value, file string) (string, error) {
	if file == "" {
		return value, nil
	}
	if value != "" {
		return "", fmt.Errorf("--%s and --%s-file are both given: keep --%s-file", name, name, name)
	}
	value, err := readPassword(file)
	if err != nil {
		return "", fmt.Errorf("--%s-file: %w", name, err)
	}
	return value, nil
}
