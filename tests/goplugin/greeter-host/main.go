// Command greeter-host runs a command as a go-plugin plugin that serves peer.Peer, and asks it for things.
//
//	greeter-host [FLAGS] OPERATION... -- COMMAND [ARGUMENT...]
//
// Each operation is a word with arguments after colons, `greet:Ada`. What came of it is a line of JSON on stdout, with
// its name as "op"; before them comes "start", after them "end". A log record is a line with "op": "record": the plugin's have an "@module".
// The exit code is 1 if the plugin could not be started, else 0.
package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"hash"
	"io"
	"os"
	"os/exec"
	"sort"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"
	"google.golang.org/grpc/status"

	"peers/peer"
)

type told map[string]interface{}

// running is the plugin, as the operations see it.
type running struct {
	*peer.Remote
	client   *plugin.Client
	protocol plugin.ClientProtocol
	command  *exec.Cmd
}

// operations take the arguments of their word, each of which may be missing.
var operations = map[string]func(r *running, arguments arguments) (told, error){
	"greet":    greet,
	"calls":    calls,
	"turns":    turns,
	"echo":     echo,
	"count":    count,
	"measure":  measure,
	"chat":     chat,
	"callback": callback,
	"open":     open,
	"print":    print,
	"log":      log,
	"sleep":    sleep,
	"fail":     fail,
	"crash":    crash,
	"ping":     ping,
	"signal":   signal,
	"kill":     kill,
	"wait":     wait,
}

func main() {
	plain := flag.Bool("plain", false, "without AutoMTLS")
	versions := flag.String("versions", "1,2", "the protocol versions to offer")
	cookie := flag.String("cookie", peer.CookieValue, "the value of "+peer.CookieKey)
	timeout := flag.Duration("timeout", time.Minute, "how long the handshake may take")
	level := flag.String("level", "info", "the lowest level of log records to tell; lines that are none count as debug")
	flag.Parse()
	words, argv := split(flag.Args())
	if len(argv) == 0 {
		fmt.Fprintln(os.Stderr, "usage: greeter-host [FLAGS] OPERATION... -- COMMAND [ARGUMENT...]")
		os.Exit(2)
	}
	sets, err := peer.Sets(*versions, nil)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}

	stderr := &digest{hash: sha256.New()}
	command := exec.Command(argv[0], argv[1:]...)
	client := plugin.NewClient(&plugin.ClientConfig{
		HandshakeConfig:  plugin.HandshakeConfig{MagicCookieKey: peer.CookieKey, MagicCookieValue: *cookie},
		VersionedPlugins: sets,
		Cmd:              command,
		AutoMTLS:         !*plain,
		AllowedProtocols: []plugin.Protocol{plugin.ProtocolGRPC},
		StartTimeout:     *timeout,
		Stderr:           stderr,
		Logger: hclog.New(&hclog.LoggerOptions{
			Level: hclog.LevelFromString(*level), Output: records{}, JSONFormat: true,
		}),
	})

	before := time.Now()
	r, address, err := start(client, command)
	started := told{"op": "start", "seconds": time.Since(before).Seconds()}
	if err != nil {
		started["error"] = trouble(err)
	} else {
		started["pid"], started["version"] = command.Process.Pid, client.NegotiatedVersion()
		started["address"] = address
	}
	tell(started)
	if err == nil {
		for _, word := range words {
			tell(r.ask(word))
		}
	}

	before = time.Now()
	client.Kill()
	end := told{"op": "end", "seconds": time.Since(before).Seconds()}
	if command.ProcessState != nil {
		end["exit"] = command.ProcessState.String()
	}
	end["stderr"] = stderr.told()
	tell(end)
	if err != nil {
		os.Exit(1)
	}
}

// split returns what is before the first "--", and what is after it. The flag package leaves that one to us, since a
// word comes first; without a word it takes it away.
func split(words []string) ([]string, []string) {
	for index, word := range words {
		if word == "--" {
			return words[:index], words[index+1:]
		}
	}
	return nil, words
}

// start also calls the plugin once, since a connection that cannot be made shows only then.
func start(client *plugin.Client, command *exec.Cmd) (*running, []string, error) {
	address, err := client.Start()
	if err != nil {
		return nil, nil, err
	}
	protocol, err := client.Client()
	if err != nil {
		return nil, nil, err
	}
	if err := protocol.Ping(); err != nil {
		return nil, nil, err
	}
	dispensed, err := protocol.Dispense(peer.Dispensed)
	if err != nil {
		return nil, nil, err
	}
	return &running{dispensed.(*peer.Remote), client, protocol, command}, []string{address.Network(), address.String()}, nil
}

func (r *running) ask(word string) told {
	parts := strings.Split(word, ":")
	operation, ok := operations[parts[0]]
	if !ok {
		return told{"op": parts[0], "error": told{"message": "no such operation"}}
	}
	before := time.Now()
	answer, err := operation(r, parts[1:])
	if answer == nil {
		answer = told{}
	}
	answer["op"], answer["seconds"] = parts[0], time.Since(before).Seconds()
	if err != nil {
		answer["error"] = trouble(err)
	}
	return answer
}

// trouble returns an error's text, and the code's name if it is of gRPC.
func trouble(err error) told {
	if found, ok := status.FromError(err); ok {
		return told{"code": found.Code().String(), "message": found.Message()}
	}
	return told{"message": err.Error()}
}

type arguments []string

func (a arguments) text(index int, otherwise string) string {
	if index < len(a) {
		return a[index]
	}
	return otherwise
}

func (a arguments) number(index int, otherwise int) int {
	if index >= len(a) {
		return otherwise
	}
	number, err := strconv.Atoi(a[index])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	return number
}

// greet:NAME
func greet(r *running, a arguments) (told, error) {
	answer, err := r.Greet(context.Background(), &peer.Name{Name: a.text(0, "World")})
	return greeting(answer), err
}

func greeting(answer *peer.Greeting) told {
	return told{"text": answer.GetText(), "version": answer.GetVersion()}
}

// calls:TIMES tells percentiles in microseconds.
func calls(r *running, a arguments) (told, error) {
	taken, err := r.timed(a.number(0, 10_000))
	if err != nil {
		return told{"calls": len(taken)}, err
	}
	sort.Float64s(taken)
	at := func(share float64) float64 { return taken[int(share*float64(len(taken)-1))] }
	return told{"calls": len(taken), "p50": at(0.5), "p90": at(0.9), "p99": at(0.99), "max": at(1)}, nil
}

// timed returns what each call took, in microseconds, up to the first that failed.
func (r *running) timed(times int) ([]float64, error) {
	taken := make([]float64, 0, times)
	for len(taken) < times {
		before := time.Now()
		if _, err := r.Greet(context.Background(), &peer.Name{Name: "Ada"}); err != nil {
			return taken, err
		}
		taken = append(taken, float64(time.Since(before).Nanoseconds())/1000)
	}
	return taken, nil
}

// turns:TIMES makes so many calls for each line of stdin, and tells in a line what each took, so that hosts can take
// turns.
func turns(r *running, a arguments) (told, error) {
	lines, made := bufio.NewScanner(os.Stdin), 0
	for ; lines.Scan(); made++ {
		taken, err := r.timed(a.number(0, 100))
		if err != nil {
			return told{"turns": made}, err
		}
		tell(told{"op": "turn", "microseconds": taken})
	}
	return told{"turns": made}, lines.Err()
}

// echo:BYTES
func echo(r *running, a arguments) (told, error) {
	data := pattern(a.number(0, 1_000))
	answer, err := r.Echo(context.Background(), &peer.Data{Data: data})
	return told{"bytes": len(answer.GetData()), "same": bytes.Equal(data, answer.GetData())}, err
}

func pattern(length int) []byte {
	data := make([]byte, length)
	for index := range data {
		data[index] = byte(index * 7)
	}
	return data
}

// count:TO reads a stream to its end.
func count(r *running, a arguments) (told, error) {
	stream, err := r.Count(context.Background(), &peer.Number{Number: uint64(a.number(0, 100))})
	if err != nil {
		return nil, err
	}
	for expected := uint64(0); ; expected++ {
		number, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return told{"numbers": expected}, nil
		}
		if err == nil && number.Number != expected {
			err = fmt.Errorf("%d in place of %d", number.Number, expected)
		}
		if err != nil {
			return told{"numbers": expected}, err
		}
	}
}

// measure:TIMES:BYTES sends a stream.
func measure(r *running, a arguments) (told, error) {
	stream, err := r.Measure(context.Background())
	if err != nil {
		return nil, err
	}
	data := &peer.Data{Data: pattern(a.number(1, 1_000))}
	for index := 0; index < a.number(0, 10); index++ {
		if err := stream.Send(data); err != nil {
			break // the answer tells why
		}
	}
	answer, err := stream.CloseAndRecv()
	return told{"bytes": answer.GetNumber()}, err
}

// chat:TIMES:BYTES sends and reads in turn.
func chat(r *running, a arguments) (told, error) {
	stream, err := r.Chat(context.Background())
	if err != nil {
		return nil, err
	}
	data := pattern(a.number(1, 1_000))
	for index := 0; index < a.number(0, 10); index++ {
		if err := stream.Send(&peer.Data{Data: data}); err != nil {
			return told{"turns": index}, err
		}
		answer, err := stream.Recv()
		if err == nil && !bytes.Equal(data, answer.Data) {
			err = errors.New("other bytes came back")
		}
		if err != nil {
			return told{"turns": index}, err
		}
	}
	if err := stream.CloseSend(); err != nil {
		return nil, err
	}
	if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("in place of an end: %v", err)
	}
	return told{"turns": a.number(0, 10)}, nil
}

// callback:NAME has the plugin dial us.
func callback(r *running, a arguments) (told, error) {
	id := r.Broker.NextId()
	ready := make(chan *grpc.Server, 1)
	go r.Broker.AcceptAndServe(id, func(options []grpc.ServerOption) *grpc.Server {
		server := grpc.NewServer(options...)
		peer.RegisterAsideServer(server, &peer.Greeter{Word: "Welcome back", Version: r.client.NegotiatedVersion()})
		ready <- server
		return server
	})
	defer func() { (<-ready).Stop() }()
	answer, err := r.CallBack(context.Background(), &peer.Visit{ServiceId: id, Name: a.text(0, "World")})
	return greeting(answer), err
}

// open:NAME has us dial the plugin.
func open(r *running, a arguments) (told, error) {
	opened, err := r.Open(context.Background(), &peer.Empty{})
	if err != nil {
		return nil, err
	}
	conn, err := r.Broker.Dial(uint32(opened.Number))
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	answer, err := peer.NewAsideClient(conn).Greet(context.Background(), &peer.Name{Name: a.text(0, "World")})
	return greeting(answer), err
}

// print:STREAM:BYTES
func print(r *running, a arguments) (told, error) {
	output := &peer.Output{Stream: a.text(0, "stderr"), Bytes: uint64(a.number(1, 64))}
	_, err := r.Print(context.Background(), output)
	return nil, err
}

// log:LEVEL:MESSAGE:KEY=VALUE...
func log(r *running, a arguments) (told, error) {
	record := &peer.Record{Level: a.text(0, "info"), Message: a.text(1, "a message"), Fields: map[string]string{}}
	for index := 2; index < len(a); index++ {
		key, value, _ := strings.Cut(a[index], "=")
		record.Fields[key] = value
	}
	_, err := r.Log(context.Background(), record)
	return nil, err
}

// sleep:MILLISECONDS:DEADLINE, that in milliseconds too.
func sleep(r *running, a arguments) (told, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(a.number(1, 60_000))*time.Millisecond)
	defer cancel()
	_, err := r.Sleep(ctx, &peer.Pause{Milliseconds: uint64(a.number(0, 10))})
	return nil, err
}

// fail:CODE:MESSAGE
func fail(r *running, a arguments) (told, error) {
	_, err := r.Fail(context.Background(), &peer.Failure{Code: uint32(a.number(0, 5)), Message: a.text(1, "no")})
	return nil, err
}

// crash:EXIT_CODE:PANIC
func crash(r *running, a arguments) (told, error) {
	_, err := r.Crash(context.Background(), &peer.End{ExitCode: int32(a.number(0, 3)), Panic: a.text(1, "")})
	return r.gone(), err
}

func ping(r *running, _ arguments) (told, error) {
	return nil, r.protocol.Ping()
}

// signal:NUMBER sends the plugin a signal, and waits for its end if that is SIGKILL.
func signal(r *running, a arguments) (told, error) {
	number := syscall.Signal(a.number(0, int(syscall.SIGINT)))
	err := r.command.Process.Signal(number)
	if number == syscall.SIGKILL {
		return r.gone(), err
	}
	return nil, err
}

// gone waits until the plugin has ended, for at most 10 s.
func (r *running) gone() told {
	for before := time.Now(); !r.client.Exited() && time.Since(before) < 10*time.Second; {
		time.Sleep(time.Millisecond)
	}
	return told{"exited": r.client.Exited()}
}

// kill ends the plugin as go-plugin does. Without it that is done at the end.
func kill(r *running, _ arguments) (told, error) {
	r.client.Kill()
	return told{"exited": r.client.Exited(), "exit": r.command.ProcessState.String()}, nil
}

// wait lasts until stdin ends, so that a test can end either side meanwhile.
func wait(*running, arguments) (told, error) {
	_, err := io.Copy(io.Discard, os.Stdin)
	return nil, err
}

// stdout has several writers.
var stdout sync.Mutex

func tell(line told) {
	text, err := json.Marshal(line)
	if err != nil {
		panic(err)
	}
	stdout.Lock()
	defer stdout.Unlock()
	os.Stdout.Write(append(text, '\n'))
}

// records writes log records among the other lines: those are JSON already.
type records struct{}

func (records) Write(record []byte) (int, error) {
	tell(told{"op": "record", "record": json.RawMessage(record)})
	return len(record), nil
}

// digest keeps of a stream what a test can compare with what was written.
type digest struct {
	lock         sync.Mutex
	hash         hash.Hash
	bytes, lines int
}

func (d *digest) Write(data []byte) (int, error) {
	d.lock.Lock()
	defer d.lock.Unlock()
	d.hash.Write(data)
	d.bytes += len(data)
	d.lines += bytes.Count(data, []byte{'\n'})
	return len(data), nil
}

func (d *digest) told() told {
	d.lock.Lock()
	defer d.lock.Unlock()
	return told{"bytes": d.bytes, "lines": d.lines, "sha256": fmt.Sprintf("%x", d.hash.Sum(nil))}
}
