/* tcpload: the load generator for lines over TCP: one speaker and many other clients.
 *
 *   tcpload PORT MODE [-n connections] [-w window] [-s seconds] [-f few]
 *
 *   fanout  `connections` members listen while one more, the speaker, keeps `window` messages outstanding for `seconds`
 *           A message is done when each of the others has it. Each is sent in a write of its own
 *   listen  `connections` members read what others say, until a line (or the end) of stdin
 *   joined  `few` connections join, then the others, and nothing is said for `seconds`
 *   silent  the same, but no client gives a name
 *
 * The server greets with lines that begin with "* ", takes the first line as the name, and answers with lines of which
 * the last begins with "* You are NAME". After that, each line from a client is a text, which the others receive as
 * "NAME: TEXT".
 *
 * Before the measurement, the speaker says one message and waits until everybody has it, so that no notice of a join is
 * still under way. Then every member counts errors. The speaker's messages are numbered: each has to come once, in
 * order and unchanged, and nothing else may come. No member may be disconnected. In `listen`, all members have to receive the
 * same lines in the same order.
 *
 * Phases are described in load.h. `own_cpu` is the share of one CPU that this program used itself.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "load.h"

enum { EVENTS = 1024, CHUNK = 1 << 18, NUMBERS = 1024, KEPT = 120, OPENING = 32, JOINING = 256, STDIN = UINT32_MAX };
static const int OF_ONE_ADDRESS = 20000; /* connections: one address has at most 28,000 ports for one server */
static const double WARM_UP = 0.5;       /* seconds of load before counting begins */
static const double GIVE_UP = 6.0;       /* seconds without any input */
static const double QUIET = 0.3;         /* seconds without input after which nothing more is expected */
static const char SPEAKER[] = "speaker", TEXT[] = " is what somebody has to say.";

static struct {
    const char *mode;
    int port, connections, window, few;
    double seconds;
} opt = {.connections = 100, .window = 8, .few = 64, .seconds = 2};

static int mode_is(const char *name) {
    return !strcmp(opt.mode, name);
}

enum state { UNUSED, CONNECTING, GREETED, NAMED, JOINED, CLOSED };
static struct client {
    int fd, kept;
    enum state state;
    long expected, lines; /* expected: the number of the speaker's next message */
    uint64_t digest;      /* of all lines, in order */
    char begun[KEPT];     /* the first bytes of an unfinished line */
} *clients, *speaker;     /* the speaker is the last of the clients */
static int poller, asked_to_end;
static char chunk[CHUNK], heard[KEPT + 1]; /* heard: the last line that begins with a star */

static struct histogram latencies;

static double own_cpu(void) {
    return clock_seconds(CLOCK_PROCESS_CPUTIME_ID);
}

/* ---- messages of the speaker, which are done when everybody has them ---- */

static struct {
    double at;
    int missing; /* the number of members that do not have it yet */
} messages[NUMBERS]; /* the last messages, by number */
static long said, done;
static long missing, repeated, wrong, closed, notices;
static int alone; /* true once only the speaker sends anything */
static int greeted, joined; /* connections so far, with closed ones; open connections that have joined */
static double news;         /* the time of the last input */

static void say(void) {
    char line[80];
    int length = sprintf(line, "%010ld%s\n", said, TEXT);
    messages[said % NUMBERS].at = now();
    messages[said % NUMBERS].missing = joined - 1;
    said++;
    if (send(speaker->fd, line, length, MSG_NOSIGNAL) != length) die("the speaker cannot send: %s", strerror(errno));
}

static void count_off(long number) {
    if (!--messages[number % NUMBERS].missing) done++; /* in order, since each member receives in order */
}

static void count_off_as_missing(struct client *c, long until) {
    for (; c->expected < until; missing++) count_off(c->expected++);
}

static void take_message(struct client *c, const char *text, long length, double time) {
    char *end;
    long number = length == 10 + (long)sizeof TEXT - 1 ? strtol(text, &end, 10) : -1;
    if (number < 0 || number >= said || end != text + 10 || memcmp(end, TEXT, sizeof TEXT - 1)) wrong++;
    else if (c == speaker || number < c->expected) repeated++;
    else {
        count_off_as_missing(c, number);
        count_off(c->expected++);
        record(&latencies, time - messages[number % NUMBERS].at);
    }
}

/* ---- lines ---- */

static const char *name_of(const struct client *c) {
    static char name[32];
    if (c == speaker) return SPEAKER;
    sprintf(name, "listener%05d", (int)(c - clients));
    return name;
}

static void take_notice(struct client *c, const char *line, long length) {
    static const char welcome[] = "* You are ";
    memcpy(heard, line, length);
    heard[length] = 0;
    if (c->state == CONNECTING) {
        c->state = GREETED;
        greeted++;
    } else if (c->state == JOINED) notices++;
    else if (c->state == NAMED && !strncmp(heard, welcome, sizeof welcome - 1)) {
        const char *name = name_of(c);
        if (strncmp(heard + sizeof welcome - 1, name, strlen(name))) die("%s was told: %s", name, heard);
        c->state = JOINED;
        c->expected = said;
        joined++;
    }
}

static void digest(struct client *c, const char *line, long length) {
    uint64_t part = (uint64_t)length;
    for (; length > 0; line += sizeof part, length -= sizeof part) {
        c->digest = (c->digest ^ part) * 0x9e3779b97f4a7c15;
        c->digest ^= c->digest >> 32;
        part = 0;
        memcpy(&part, line, length < (long)sizeof part ? (size_t)length : sizeof part);
    }
    c->digest = (c->digest ^ part) * 0x9e3779b97f4a7c15;
}

/* Of a longer line, `line` has at least the first KEPT bytes. */
static void take_line(struct client *c, const char *line, long length, double time) {
    static const long head = sizeof SPEAKER + 1; /* "speaker: " */
    c->lines++;
    digest(c, line, length < KEPT ? length : KEPT);
    if (length >= 2 && line[0] == '*' && line[1] == ' ') take_notice(c, line, length < KEPT ? length : KEPT);
    else if (c->state != JOINED) wrong++;
    else if (length > head && !memcmp(line, SPEAKER, head - 2) && line[head - 2] == ':')
        take_message(c, line + head, length - head, time);
    else wrong += alone;
}

static void take_chunk(struct client *c, const char *data, long length) {
    double time = now();
    while (length) {
        const char *end = memchr(data, '\n', length);
        long part = end ? end - data : length;
        if (end && !c->kept) take_line(c, data, part, time);
        else {
            long room = KEPT - c->kept, kept = part < room ? part : room;
            memcpy(c->begun + c->kept, data, kept);
            c->kept += kept;
            if (end) {
                take_line(c, c->begun, c->kept, time);
                c->kept = 0;
            }
        }
        if (!end) return;
        length -= part + 1;
        data = end + 1;
    }
}

/* ---- sockets ---- */

static long reads;

static void lose(struct client *c) {
    if (c->state == CONNECTING) die("refused after %d connections: %s", greeted, errno ? strerror(errno) : "closed");
    if (c == speaker) die("the speaker was disconnected (%s)", heard);
    closed++;
    if (c->state == JOINED) {
        joined--;
        count_off_as_missing(c, said);
    }
    c->state = CLOSED;
    close(c->fd);
    if (joined == 1 && said) die("everybody was disconnected (%s)", heard);
}

/* Read everything: the poller is edge-triggered. */
static void receive(struct client *c, uint32_t events) {
    ssize_t length;
    do {
        errno = 0;
        length = recv(c->fd, chunk, sizeof chunk, 0);
        if (length > 0) {
            reads++;
            take_chunk(c, chunk, length);
        }
    } while (length == sizeof chunk || (length > 0 && events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)));
    if (length == 0 || (length < 0 && errno != EAGAIN && errno != EINTR)) lose(c);
}

static void take_what_comes(int milliseconds) {
    struct epoll_event ready[EVENTS];
    int count = epoll_wait(poller, ready, EVENTS, milliseconds);
    for (int i = 0; i < count; i++) {
        if (ready[i].data.u32 == STDIN) {
            await_line();
            asked_to_end = 1;
            continue;
        }
        struct client *c = &clients[ready[i].data.u32];
        if (c->state == CLOSED) continue;
        news = now();
        receive(c, ready[i].events);
    }
}

static void take_until_quiet(void) {
    for (news = now(); now() - news < QUIET;) take_what_comes(50);
}

static void watch(int fd, uint32_t events, uint32_t number) {
    struct epoll_event want = {.events = events, .data.u32 = number};
    if (epoll_ctl(poller, EPOLL_CTL_ADD, fd, &want)) die("epoll: %s", strerror(errno));
}

static void dial(struct client *c) {
    struct sockaddr_in here = {.sin_family = AF_INET}, server = {.sin_family = AF_INET, .sin_port = htons(opt.port)};
    int number = (int)(c - clients), on = 1;
    here.sin_addr.s_addr = htonl(INADDR_LOOPBACK + number / OF_ONE_ADDRESS);
    server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (c->fd < 0) die("socket: %s", strerror(errno));
    setsockopt(c->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (bind(c->fd, (void *)&here, sizeof here)) die("bind: %s", strerror(errno));
    if (connect(c->fd, (void *)&server, sizeof server) && errno != EINPROGRESS) die("connect: %s", strerror(errno));
    c->state = CONNECTING;
    watch(c->fd, EPOLLIN | EPOLLRDHUP | EPOLLET, number);
}

static void give_name(struct client *c) {
    char line[40];
    int length = sprintf(line, "%s\n", name_of(c));
    if (c->state != GREETED) die("%s was disconnected before it could join (%s)", name_of(c), heard);
    c->state = NAMED;
    if (send(c->fd, line, length, MSG_NOSIGNAL) != length) die("%s cannot join: %s", name_of(c), strerror(errno));
}

/* ---- phases in which clients start, `window` of them at a time, until all have reached `counted` ---- */

static void each(int first, int last, int window, void (*begin)(struct client *), const int *arrived, const char *what) {
    int before = *arrived, next = first;
    news = now();
    while (*arrived - before < last - first) {
        while (next < last && next - first - (*arrived - before) < window) begin(&clients[next++]);
        take_what_comes(100);
        if (closed) die("disconnected after %d of %d %s (%s)", *arrived, opt.connections + 1, what, heard);
        if (now() - news > GIVE_UP) die("no answer after %d of %d %s (%s)", *arrived, opt.connections + 1, what, heard);
    }
}

/* A few at a time, since a client greeted long before it joins may get the lines of all joins in between. */
static void connect_and_join(int first, int last) {
    for (int next; first < last; first = next) {
        next = first + JOINING < last ? first + JOINING : last;
        each(first, next, OPENING, dial, &greeted, "connections");
        each(first, next, JOINING, give_name, &joined, "joins");
    }
}

static void await_all(void) {
    for (news = now(); done < said;) {
        take_what_comes(50);
        if (now() - news > GIVE_UP) return;
    }
}

/* Wait until every member has received the joins of all others. */
static void settle(void) {
    say();
    await_all();
    if (done < said) die("not everybody was told what the speaker said (%s)", heard);
}

static void gather(void) {
    double begun = now();
    connect_and_join(0, opt.connections + 1);
    double took = now() - begun;
    settle();
    phase("joined joins_per_s=%.0f", (opt.connections + 1) / took);
}

/* ---- fan-out ---- */

static struct {
    double seconds, cpu;
    long deliveries, messages, reads;
} measured;

/* Keep the window full for some seconds and count, then wait for the outstanding messages. */
static void load(double seconds) {
    memset(&latencies, 0, sizeof latencies);
    alone = 1;
    missing = repeated = wrong = notices = reads = 0;
    double start = news = now(), cpu_before = own_cpu();
    long done_before = done;
    while (now() - start < seconds) {
        while (said - done < opt.window) say();
        take_what_comes(50);
        if (now() - news > GIVE_UP) die("nothing comes any more, after %ld deliveries (%s)", latencies.total, heard);
    }
    measured.seconds = now() - start;
    measured.cpu = own_cpu() - cpu_before;
    measured.deliveries = latencies.total;
    measured.messages = done - done_before;
    measured.reads = reads;
    if (!measured.deliveries) die("not one delivery");
    await_all();
    for (struct client *c = clients; c < speaker; c++)
        if (c->state == JOINED) count_off_as_missing(c, said);
}

static void fanout(void) {
    gather();
    load(WARM_UP);
    phase("started");
    load(opt.seconds);
    phase("done deliveries_per_s=%.0f messages_per_s=%.1f deliveries=%ld p50_us=%.1f p99_us=%.1f worst_us=%.0f "
          "missing=%ld repeated=%ld wrong=%ld closed=%ld notices=%ld lines_per_read=%.2f own_cpu=%.3f",
          measured.deliveries / measured.seconds, measured.messages / measured.seconds, latencies.total,
          percentile_us(&latencies, 0.5), percentile_us(&latencies, 0.99), latencies.worst * 1e6, missing, repeated,
          wrong, closed, notices, (double)measured.deliveries / measured.reads, measured.cpu / measured.seconds);
}

/* ---- listening to others ---- */

static void listen_to_others(void) {
    gather();
    watch(STDIN_FILENO, EPOLLIN, STDIN);
    for (struct client *c = clients; c <= speaker; c++) c->lines = c->digest = 0;
    reads = notices = wrong = 0;
    double begun = now(), cpu_before = own_cpu();
    while (!asked_to_end) take_what_comes(1000);
    double took = now() - begun, used = own_cpu() - cpu_before;
    take_until_quiet();
    long lines = 0, uneven = 0;
    struct client *most = clients;
    for (struct client *c = clients; c <= speaker; c++) {
        lines += c->lines;
        if (c->lines > most->lines) most = c;
    }
    for (struct client *c = clients; c <= speaker; c++) uneven += c->state == JOINED && c->digest != most->digest;
    phase("done lines=%ld lines_per_s=%.0f lines_per_read=%.2f uneven=%ld wrong=%ld closed=%ld notices=%ld own_cpu=%.3f",
          lines, lines / took, reads ? (double)lines / reads : 0, uneven, wrong, closed, notices, used / took);
}

/* ---- idle connections ---- */

static void begin_some(int first, int last) {
    if (mode_is("silent")) each(first, last, OPENING, dial, &greeted, "connections");
    else {
        connect_and_join(first, last);
        settle();
    }
    take_until_quiet();
}

static void hold(void) {
    if (mode_is("joined")) {
        speaker = clients; /* the first client is there from the start */
        connect_and_join(0, 1);
    }
    begin_some(mode_is("joined"), opt.few);
    phase("few");
    double begun = now();
    begin_some(opt.few, opt.connections);
    double took = now() - begun - QUIET;
    phase("many begun_per_s=%.0f", (opt.connections - opt.few) / took);
    notices = 0;
    for (begun = now(); now() - begun < opt.seconds;) take_what_comes(100);
    phase("done closed=%ld notices=%ld wrong=%ld", closed, notices, wrong);
}

static void usage(void) {
    die("usage: tcpload PORT fanout|listen|joined|silent [-n connections] [-w window] [-s seconds] [-f few]");
}

static void read_options(int argc, char **argv) {
    for (int c; (c = getopt(argc, argv, "n:w:s:f:")) != -1;) {
        if (c == '?') usage();
        double value = atof(optarg);
        if (value <= 0) usage();
        if (c == 'n') opt.connections = (int)value;
        if (c == 'w') opt.window = (int)value;
        if (c == 's') opt.seconds = value;
        if (c == 'f') opt.few = (int)value;
    }
    if (argc - optind != 2 || opt.window > NUMBERS / 2) usage();
    opt.port = atoi(argv[optind]);
    opt.mode = argv[optind + 1];
    if (opt.few > opt.connections) opt.few = opt.connections;
}

int main(int argc, char **argv) {
    read_options(argc, argv);
    allow_files(opt.connections + 17);
    poller = epoll_create1(0);
    clients = calloc(opt.connections + 1, sizeof *clients);
    if (poller < 0 || !clients) die("setting up: %s", strerror(errno));
    speaker = clients + opt.connections;
    if (mode_is("fanout")) fanout();
    else if (mode_is("listen")) listen_to_others();
    else if (mode_is("joined") || mode_is("silent")) hold();
    else usage();
    return 0;
}
