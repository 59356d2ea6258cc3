// Chat over the five messages. Run: go run five.go HOST PORT NAME. Then type; the end of input leaves.
package main

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"time"
)

var oneAtATime sync.Mutex

// ask prints the reply and returns it. A join or a poll may be sent again without harm; anything else is sent once.
func ask(server net.Conn, request string) string {
	oneAtATime.Lock()
	defer oneAtATime.Unlock()
	reply, again := make([]byte, 65535), map[byte]int{'1': 4, '5': 4}
	for tries := 1 + again[request[0]]; tries > 0; tries-- {
		server.SetDeadline(time.Now().Add(2 * time.Second))
		fmt.Fprint(server, request)
		if size, err := server.Read(reply); err == nil {
			fmt.Print(strings.TrimLeft(string(reply[:size])+"\n", "\n")) // nothing for an empty reply
			return string(reply[:size])
		}
	}
	panic("no reply")
}

func main() {
	server, err := net.Dial("udp", net.JoinHostPort(os.Args[1], os.Args[2]))
	if err != nil || ask(server, "1 "+os.Args[3]) == "Illegal message" {
		panic(fmt.Sprint("cannot join: ", err))
	}
	go func() {
		for range time.Tick(time.Second) {
			ask(server, "5")
		}
	}()
	for input := bufio.NewScanner(os.Stdin); input.Scan(); {
		ask(server, "2 "+input.Text())
	}
	ask(server, "4")
}
