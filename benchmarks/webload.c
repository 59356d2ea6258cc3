/* webload: the load generator for event streams over HTTP: one speaker and many streams.
 *
 *   webload PORT events [-n streams] [-f few] [-r rate] [-w window] [-s seconds]
 *
 * All members join. Then `few` of them open a stream each, then the others. Then one more, the speaker, says `rate`
 * messages a second, each in a request of its own; with a rate of 0 it keeps `window` messages outstanding. A message
 * is delivered when its event has come on a stream, and done when it has come on all. Messages are numbered: each has to
 * come once on each stream, in order.
 *
 * A member joins with POST /name and a key of its own, as `Authorization: Bearer`, reads GET /events, and says a text
 * with POST /messages. The phases (see load.h) are `few`, `many`, `started` and `done`.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "load.h"

enum { EVENTS = 1024, CHUNK = 1 << 18, NUMBERS = 4096, LINE = 400 };
static const double WARM_UP = 0.5, GIVE_UP = 10.0;
static const char MARK[] = "\"text\":\"say ";

static struct {
    int port, streams, few, window;
    double rate, seconds;
} opt = {.streams = 1000, .few = 64, .window = 8, .rate = 30, .seconds = 2};

static struct stream {
    int fd, kept;
    long expected;
    char begun[LINE]; /* the beginning of an unfinished line */
} *streams;
static int poller, speaker, open_streams;
static long said, done, answered, missing, repeated, closed, wrong, reads;
static double at[NUMBERS], news;
static int left[NUMBERS];
static struct histogram latencies;
static char chunk[CHUNK];

static int dial(void) {
    struct sockaddr_in server = {.sin_family = AF_INET, .sin_port = htons(opt.port)};
    int on = 1, fd = socket(AF_INET, SOCK_STREAM, 0);
    server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (fd < 0) die("socket: %s", strerror(errno));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (connect(fd, (void *)&server, sizeof server)) die("connect: %s", strerror(errno));
    return fd;
}

static int request(char *into, const char *method, const char *path, int key, const char *body) {
    return sprintf(into,
                   "%s %s HTTP/1.1\r\nHost: localhost:%d\r\nAuthorization: Bearer %032x\r\n"
                   "Content-Length: %d\r\n\r\n%s",
                   method, path, opt.port, key + 1, (int)strlen(body), body);
}

static void send_all(int fd, const char *data, int length) {
    if (send(fd, data, length, MSG_NOSIGNAL) != length) die("send: %s", strerror(errno));
}

/* The text that ends the awaited answer. */
static void await_words(int fd, const char *words) {
    char got[4096];
    int length = 0;
    while (length < (int)sizeof got - 1) {
        int part = recv(fd, got + length, 1, 0);
        if (part <= 0) die("the server closed: %.*s", length, got);
        got[length += part] = 0;
        if (length >= 12 && memcmp(got, "HTTP/1.1 200", 12)) die("refused: %s", got);
        if (strstr(got, words)) return;
    }
    die("an answer is too long: %s", got);
}

static void watch(int fd, uint32_t number) {
    struct epoll_event want = {.events = EPOLLIN | EPOLLRDHUP, .data.u32 = number};
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    if (epoll_ctl(poller, EPOLL_CTL_ADD, fd, &want)) die("epoll: %s", strerror(errno));
}

static void join(int key) {
    char asked[512], name[32];
    sprintf(name, "member%05d", key);
    send_all(speaker, asked, request(asked, "POST", "/name", key, name));
    await_words(speaker, "}");
}

static void open_some(int until) {
    char asked[512];
    for (; open_streams < until; open_streams++) {
        struct stream *s = &streams[open_streams];
        s->fd = dial();
        send_all(s->fd, asked, request(asked, "GET", "/events", open_streams, ""));
        await_words(s->fd, "\nid: ");
        watch(s->fd, open_streams);
    }
}

/* ---- events ---- */

static void take_message(struct stream *s, long number, double time) {
    if (number >= said) wrong++;
    else if (number < s->expected) repeated++;
    else {
        missing += number - s->expected;
        s->expected = number + 1;
        record(&latencies, time - at[number % NUMBERS]);
        if (!--left[number % NUMBERS]) done++;
    }
}

static void take_line(struct stream *s, char *line, int length, double time) {
    line[length] = 0;
    char *found = strncmp(line, "data: ", 6) ? NULL : strstr(line, MARK);
    if (found) take_message(s, strtol(found + sizeof MARK - 1, NULL, 10), time);
}

static void take_chunk(struct stream *s, const char *data, long length) {
    double time = now();
    for (; length--; data++) {
        if (*data == '\n') {
            take_line(s, s->begun, s->kept, time);
            s->kept = 0;
        } else if (s->kept < LINE - 1) s->begun[s->kept++] = *data;
    }
}

static void receive(struct stream *s) {
    ssize_t length = recv(s->fd, chunk, sizeof chunk, 0);
    if (length > 0) {
        reads++;
        take_chunk(s, chunk, length);
    } else if (length == 0 || (errno != EAGAIN && errno != EINTR)) {
        closed++;
        close(s->fd);
    }
}

static void hear_answers(void) {
    static const char ok[] = "HTTP/1.1 200";
    ssize_t length = recv(speaker, chunk, sizeof chunk - 1, 0);
    if (length <= 0) die("the speaker was disconnected");
    chunk[length] = 0;
    for (char *found = chunk; (found = strstr(found, "HTTP/1.1 ")); found++) {
        if (strncmp(found, ok, sizeof ok - 1)) die("the speaker was refused: %.60s", found);
        answered++;
    }
}

static void take_what_comes(int milliseconds) {
    struct epoll_event ready[EVENTS];
    int count = epoll_wait(poller, ready, EVENTS, milliseconds);
    for (int i = 0; i < count; i++) {
        news = now();
        if (ready[i].data.u32 == UINT32_MAX) hear_answers();
        else receive(&streams[ready[i].data.u32]);
    }
}

/* ---- saying ---- */

static void say(void) {
    char asked[512], text[80];
    sprintf(text, "say %010ld is what somebody has to say.", said);
    at[said % NUMBERS] = now();
    left[said % NUMBERS] = open_streams;
    said++;
    send_all(speaker, asked, request(asked, "POST", "/messages", opt.streams, text));
}

static int is_due(double begun, long before) {
    return opt.rate > 0 ? (now() - begun) * opt.rate >= said - before : said - done < opt.window;
}

static void load(double seconds) {
    memset(&latencies, 0, sizeof latencies);
    double begun = news = now();
    long before = said;
    reads = 0;
    while (now() - begun < seconds) {
        if (is_due(begun, before)) say();
        take_what_comes(is_due(begun, before) ? 0 : 1);
        if (now() - news > GIVE_UP) die("nothing comes any more, after %ld deliveries", latencies.total);
    }
    for (news = now(); done < said && now() - news < GIVE_UP;) take_what_comes(10);
}

int main(int argc, char **argv) {
    for (int c; (c = getopt(argc, argv, "n:f:r:w:s:")) != -1;) {
        if (c == '?') die("usage: webload PORT events [-n streams] [-f few] [-r rate] [-w window] [-s seconds]");
        if (c == 'n') opt.streams = atoi(optarg);
        if (c == 'f') opt.few = atoi(optarg);
        if (c == 'r') opt.rate = atof(optarg);
        if (c == 'w') opt.window = atoi(optarg);
        if (c == 's') opt.seconds = atof(optarg);
    }
    if (argc - optind != 2 || opt.streams < opt.few) die("webload PORT events: there are no others to ask");
    opt.port = atoi(argv[optind]);
    allow_files(opt.streams + 32);
    poller = epoll_create1(0);
    streams = calloc(opt.streams, sizeof *streams);
    speaker = dial();
    for (int key = 0; key <= opt.streams; key++) join(key);
    open_some(opt.few);
    phase("few");
    double begun = now();
    open_some(opt.streams);
    double took = now() - begun;
    watch(speaker, UINT32_MAX);
    load(WARM_UP);
    phase("many begun_per_s=%.0f", (opt.streams - opt.few) / took);
    phase("started");
    double cpu = clock_seconds(CLOCK_PROCESS_CPUTIME_ID), start = now();
    load(opt.seconds);
    double seconds = now() - start;
    phase("done deliveries=%ld deliveries_per_s=%.0f p50_us=%.1f p99_us=%.1f worst_us=%.0f missing=%ld repeated=%ld "
          "closed=%ld wrong=%ld own_cpu=%.3f",
          latencies.total, latencies.total / seconds, percentile_us(&latencies, 0.5), percentile_us(&latencies, 0.99),
          latencies.worst * 1e6, missing, repeated, closed, wrong,
          (clock_seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu) / seconds);
    return 0;
}
