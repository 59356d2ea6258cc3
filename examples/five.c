/* Chat over the five messages. Build: cc -o five five.c. Run: ./five HOST PORT NAME. Then type; Ctrl-D leaves. */
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Print the reply and return it. A join or a poll may be sent again without harm; anything else is sent once. */
static const char *ask(int server, char digit, const char *text) {
    static char request[4200], reply[65536];
    snprintf(request, sizeof request, *text ? "%c %s" : "%c", digit, text);
    struct pollfd ready = {.fd = server, .events = POLLIN};
    for (int tries = digit == '1' || digit == '5' ? 5 : 1; tries > 0; tries--) {
        send(server, request, strlen(request), 0);
        if (poll(&ready, 1, 2000) <= 0) continue;
        ssize_t size = recv(server, reply, sizeof reply - 1, 0);
        if (size < 0) continue;
        reply[size] = '\0';
        if (size > 0) printf("%s\n", reply);
        fflush(stdout);
        return reply;
    }
    fprintf(stderr, "no reply\n");
    _exit(1);
}

int main(int argc, char **argv) {
    struct addrinfo hints = {.ai_socktype = SOCK_DGRAM}, *found;
    if (argc != 4 || getaddrinfo(argv[1], argv[2], &hints, &found) != 0) return 2;
    int server = socket(found->ai_family, found->ai_socktype, 0);
    if (connect(server, found->ai_addr, found->ai_addrlen) != 0) return 1;
    if (strcmp(ask(server, '1', argv[3]), "Illegal message") == 0) return 1;
    setbuf(stdin, NULL); /* so that poll() sees every line that is not read yet */
    struct pollfd input = {.fd = 0, .events = POLLIN};
    for (char line[4100] = "";; line[0] = '\0') {
        if (poll(&input, 1, 1000) > 0 && !fgets(line, sizeof line, stdin)) break;
        line[strcspn(line, "\r\n")] = '\0';
        ask(server, line[0] ? '2' : '5', line);
    }
    ask(server, '4', "");
}
