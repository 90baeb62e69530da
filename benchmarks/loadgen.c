/*
 * loadgen - closed-loop load for an echo server: one thread, one epoll set, every byte verified.
 *
 *   loadgen tcp-closed HOST PORT CONNECTIONS SIZE SECONDS [PIPELINE]
 *   loadgen tcp-churn  HOST PORT CONCURRENCY SIZE SECONDS
 *   loadgen udp-closed HOST PORT SOCKETS SIZE SECONDS [PIPELINE]
 *
 * tcp-closed  every connection sends a message of SIZE bytes, waits for the whole reply and sends
 *             the next; PIPELINE messages (default 1) are in flight at a time.
 * tcp-churn   connect, send, verify the reply, close, again; CONCURRENCY connections at a time.
 * udp-closed  every socket has PIPELINE datagrams in flight (default 1), whose replies may come in
 *             any order; one without a reply for 500 ms is counted as lost, and the next is sent.
 *
 * HOST is a numeric loopback address. SECONDS begin when every socket has been answered once, or
 * after 5 s (churn: at once). Their first fifth warms up and is not counted. Replies on their way
 * get 200 ms more at most; then the run ends, whatever the server does.
 *
 * Prints one line of JSON, and before it, to standard error, "counting" and "stopping" as it begins
 * and ends to count. "cpu_seconds" over "seconds" is the share of a core that the generator used;
 * near 1 it was the generator that set the rate. "connections": how many of the SOCKETS were served
 * at least once; "total": all messages answered, warm-up and end included. Times run from the first
 * byte sent to the whole reply (churn: from connect() to the server's own close) and are right to
 * 1.6 %.
 *
 * Exit: 0 done; 1 a reply differed from what was sent; 2 wrong usage, or the system refused.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    PERIOD = 65521,       /* a prime: with other sizes, the next message is never like the last */
    SPAN = 1 << 18,       /* most bytes a send() or recv() moves */
    MAX_SOCKETS = 20000,  /* below the 28,232 ephemeral ports that Linux gives by default */
    MAX_DATAGRAM = 65507, /* 65,535 less the IP and UDP headers */
    BATCH = 64,           /* datagrams received, or cut from one send, at a time: UDP_MAX_SEGMENTS */
    SOURCES = 200,        /* client addresses that churn takes in turn: 127.0.1.1 and following */
    MAX_ERRORS = 1000,    /* a server that refuses everybody ends the run early */
    BUCKETS = 64 * 60,    /* 64 a power of two, enough for any 64-bit number */
};
typedef unsigned long long u64; /* what %llu prints */

/* Nanoseconds. A server that forks 200 times a second keeps the last of 50 waiting for 250 ms. */
static const u64 LOST_AFTER = 500000000, GRACE = 200000000, SETUP = 5000000000;

enum mode { TCP_CLOSED, TCP_CHURN, UDP_CLOSED };
static const char *const MODES[] = {"tcp-closed", "tcp-churn", "udp-closed"};

struct conn {
    int fd;                  /* -1: closed for good */
    bool armed;              /* EPOLLOUT is asked for */
    bool answered;           /* at least once */
    bool gave_up;            /* UDP: some reply may still come late */
    u64 base;                /* where its bytes begin in the pattern */
    u64 sent, received;      /* positions in its stream of bytes */
    u64 *sent_at;            /* when each message in flight was sent; `pipeline` of them */
    u64 *position;           /* UDP: where each datagram in flight begins, or NONE */
    unsigned next;           /* UDP: whose reply is expected next */
};
static const u64 NONE = ~0ull;

static enum mode mode;
static union { struct sockaddr any; struct sockaddr_in v4; struct sockaddr_in6 v6; } server;
static u64 size, pipeline = 1;
static int epoll_fd, sockets, live, served;
static bool counting, stopping;
static u64 window_start, window, window_cpu; /* the part that counts */
static u64 messages, total, errors, lost, mismatches, opened;
static u64 histogram[BUCKETS];
static unsigned char pattern[PERIOD + SPAN], buffer[SPAN];

static u64 clock_ns(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (u64)t.tv_sec * 1000000000 + (u64)t.tv_nsec;
}

/* ---- what is sent, and what must come back ---- */

static void fill_pattern(void)
{
    uint32_t x = 2463534242u; /* xorshift32, G. Marsaglia 2003 */
    for (int i = 0; i < PERIOD; i++) {
        x ^= x << 13, x ^= x >> 17, x ^= x << 5;
        pattern[i] = (unsigned char)(x >> 11);
    }
    for (int i = 0; i < SPAN; i++) /* so that any SPAN bytes of the stream lie side by side */
        pattern[PERIOD + i] = pattern[i % PERIOD];
}

static const unsigned char *bytes_at(const struct conn *c, u64 position)
{
    return pattern + (c->base + position) % PERIOD;
}

/* ---- times, kept as counts in buckets one sixty-fourth wide ---- */

static unsigned bucket_of(u64 ns)
{
    unsigned shift = ns < 128 ? 0 : 57 - (unsigned)__builtin_clzll(ns);
    return shift * 64 + (unsigned)(ns >> shift);
}

static double percentile_us(double share)
{
    u64 seen = 0, wanted = (u64)((double)messages * share);
    unsigned i = 0;
    while (i < BUCKETS - 1 && (seen += histogram[i]) <= wanted)
        i++;
    unsigned shift = i < 128 ? 0 : i / 64 - 1;
    return messages ? (double)((u64)(i - shift * 64) << shift) / 1e3 : 0;
}

static void count_message(struct conn *c, u64 started)
{
    served += !c->answered && !stopping;
    c->answered = true;
    total++;
    messages += counting;
    histogram[bucket_of(clock_ns(CLOCK_MONOTONIC) - started)] += counting;
}

/* ---- sockets ---- */

static void arm(struct conn *c, bool writing, int operation)
{
    struct epoll_event event = {.events = EPOLLIN | (writing ? EPOLLOUT : 0), .data.ptr = c};
    if (operation == EPOLL_CTL_MOD && c->armed == writing)
        return;
    if (epoll_ctl(epoll_fd, operation, c->fd, &event) < 0)
        err(2, "epoll_ctl");
    c->armed = writing;
}

static void set(struct conn *c, int level, int option, const void *value, socklen_t length)
{
    if (setsockopt(c->fd, level, option, value, length) < 0)
        err(2, "socket option %d of level %d", option, level);
}

/*
 * Reno, which every kernel has: the system's default may be BBR, whose pacing timers cost the
 * generator a twentieth of its time. The server's sockets keep the default.
 */
static void prepare_stream(struct conn *c)
{
    int on = 1;
    set(c, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    set(c, IPPROTO_TCP, TCP_CONGESTION, "reno", 4);
    if (mode == TCP_CHURN && server.any.sa_family == AF_INET) {
        struct sockaddr_in source = {.sin_family = AF_INET};
        source.sin_addr.s_addr = htonl(0x7f000101 + (uint32_t)(opened % SOURCES));
        set(c, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on); /* connect() picks one */
        if (bind(c->fd, (struct sockaddr *)&source, sizeof source) < 0)
            err(2, "bind");
    }
}

static void open_socket(struct conn *c)
{
    int type = mode == UDP_CLOSED ? SOCK_DGRAM : SOCK_STREAM;
    socklen_t length = server.any.sa_family == AF_INET ? sizeof server.v4 : sizeof server.v6;
    c->fd = socket(server.any.sa_family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0)
        err(2, "socket");
    int segment = (int)size;
    if (type == SOCK_STREAM)
        prepare_stream(c);
    else if (pipeline > 1)
        set(c, SOL_UDP, UDP_SEGMENT, &segment, sizeof segment);
    c->base = opened++ * 7919 % PERIOD; /* a prime step: connections do not look alike */
    c->sent = c->received = 0;
    c->sent_at[0] = clock_ns(CLOCK_MONOTONIC); /* churn counts from connect() */
    if (connect(c->fd, &server.any, length) < 0 && errno != EINPROGRESS)
        err(2, "connect");
    arm(c, true, EPOLL_CTL_ADD);
    live++;
}

static void close_socket(struct conn *c)
{
    close(c->fd);
    c->fd = -1;
    live--;
    if (mode == TCP_CHURN && !stopping)
        open_socket(c);
}

static void fail(struct conn *c, u64 *counter)
{
    ++*counter;
    close_socket(c);
}

/* ---- TCP ---- */

/* Sends what may be in flight; false when that closed the socket. */
static bool tcp_send(struct conn *c)
{
    u64 allowed = (c->received / size + pipeline) * size;
    while (c->sent < allowed) {
        u64 now = clock_ns(CLOCK_MONOTONIC), left = allowed - c->sent;
        ssize_t n = send(c->fd, bytes_at(c, c->sent), left < SPAN ? left : SPAN, MSG_NOSIGNAL);
        if (n < 0 && errno == EAGAIN)
            break;
        if (n < 0)
            return fail(c, &errors), false;
        if (mode == TCP_CLOSED) /* every message whose first byte went out just now */
            for (u64 k = (c->sent + size - 1) / size; k * size < c->sent + (u64)n; k++)
                c->sent_at[k % pipeline] = now;
        c->sent += (u64)n;
    }
    arm(c, c->sent < allowed, EPOLL_CTL_MOD);
    return true;
}

/*
 * Churn closes as most clients do: shut down writing, wait for the server's close, close. A reset
 * (SO_LINGER 0) would leave no TIME_WAIT, but it makes the server's recv() fail, and its error path
 * would be measured. One address has 28,000 ports, each of which Linux gives again on loopback only
 * when it has been in TIME_WAIT for a second (tcp_tw_reuse); hence the many addresses.
 */
static void churn_received(struct conn *c, ssize_t n)
{
    if (n == 0) { /* the server closed as well, so its clean-up is part of the price */
        if (c->received < size)
            return fail(c, &errors);
        count_message(c, c->sent_at[0]);
        close_socket(c);
    } else if ((c->received += (u64)n) == size && shutdown(c->fd, SHUT_WR) < 0)
        fail(c, &errors);
}

static void closed_received(struct conn *c, ssize_t n)
{
    u64 first = c->received / size;
    if (n == 0) /* the server gave up on us */
        return fail(c, &errors);
    c->received += (u64)n;
    for (u64 k = first; k < c->received / size; k++)
        count_message(c, c->sent_at[k % pipeline]);
    if (!stopping)
        tcp_send(c);
    else if (c->received == c->sent)
        close_socket(c);
}

static void tcp_receive(struct conn *c)
{
    ssize_t n = recv(c->fd, buffer, SPAN, 0);
    if (n < 0 && errno == EAGAIN)
        return;
    if (n < 0)
        return fail(c, &errors);
    if ((u64)n > c->sent - c->received || memcmp(buffer, bytes_at(c, c->received), (size_t)n))
        return fail(c, &mismatches);
    (mode == TCP_CHURN ? churn_received : closed_received)(c, n);
}

/* ---- UDP: each slot of a socket's window has one datagram in flight ---- */

/*
 * Sends the next n datagrams, one for each of the slots. They lie side by side in the pattern, and
 * the kernel cuts them apart (UDP_SEGMENT): the server gets datagrams as others send them, at half
 * the price for the generator.
 */
static void udp_send(struct conn *c, const unsigned *slots, unsigned n)
{
    u64 now = clock_ns(CLOCK_MONOTONIC);
    if (send(c->fd, bytes_at(c, c->sent), n * size, 0) < 0 && errno != EAGAIN)
        errors++; /* ECONNREFUSED tells of earlier datagrams; these have their own time limit */
    for (unsigned i = 0; i < n; i++, c->sent += size) {
        c->position[slots[i]] = c->sent;
        c->sent_at[slots[i]] = now;
    }
}

static void udp_start(struct conn *c)
{
    unsigned slots[BATCH];
    for (unsigned i = 0; i < pipeline; i++)
        slots[i] = i;
    udp_send(c, slots, (unsigned)pipeline);
    arm(c, false, EPOLL_CTL_MOD);
}

/* Returns the slot whose datagram this is the reply to, or `pipeline`. */
static unsigned udp_slot_of(struct conn *c, const unsigned char *reply, unsigned n)
{
    for (unsigned i = 0; n == size && i < pipeline; i++) {
        unsigned slot = (c->next + i) % (unsigned)pipeline;
        if (c->position[slot] != NONE && !memcmp(reply, bytes_at(c, c->position[slot]), size))
            return slot;
    }
    return (unsigned)pipeline;
}

/* Whether this may be a late reply, to a datagram that was given up. */
static bool udp_was_sent(const struct conn *c, const unsigned char *reply, unsigned n)
{
    u64 most = c->gave_up && n == size ? c->sent / size : 0;
    for (u64 back = 1; back <= most && back <= PERIOD; back++) /* then the pattern comes again */
        if (!memcmp(reply, bytes_at(c, c->sent - back * size), size))
            return true;
    return false;
}

static bool udp_waits(const struct conn *c)
{
    for (unsigned i = 0; i < pipeline; i++)
        if (c->position[i] != NONE)
            return true;
    return false;
}

static void udp_receive(struct conn *c)
{
    static unsigned char replies[BATCH][MAX_DATAGRAM + 1];
    static struct iovec vectors[BATCH];
    static struct mmsghdr headers[BATCH];
    unsigned free_slots[BATCH], count = 0;
    for (int i = 0; i < BATCH && !headers[i].msg_hdr.msg_iov; i++) { /* the first time */
        vectors[i] = (struct iovec){replies[i], sizeof replies[i]};
        headers[i].msg_hdr = (struct msghdr){.msg_iov = &vectors[i], .msg_iovlen = 1};
    }
    int n = recvmmsg(c->fd, headers, (unsigned)pipeline, 0, NULL);
    if (n < 0)
        return (void)(errors += errno != EAGAIN);
    for (int i = 0; i < n; i++) {
        unsigned slot = udp_slot_of(c, replies[i], headers[i].msg_len);
        if (slot < pipeline) {
            count_message(c, c->sent_at[slot]);
            c->position[slot] = NONE;
            c->next = slot + 1;
            free_slots[count++] = slot;
        } else if (!udp_was_sent(c, replies[i], headers[i].msg_len))
            return fail(c, &mismatches);
    }
    if (count && !stopping)
        udp_send(c, free_slots, count);
    else if (!udp_waits(c))
        close_socket(c);
}

/* Gives up what waited too long and sends the next; returns when to look again. */
static u64 udp_give_up(struct conn *conns, u64 now)
{
    u64 next = now + LOST_AFTER;
    for (struct conn *c = conns; c < conns + sockets; c++)
        for (unsigned slot = 0; c->fd >= 0 && slot < pipeline; slot++) {
            if (c->position[slot] == NONE)
                continue;
            if (now >= c->sent_at[slot] + LOST_AFTER) {
                lost++;
                c->gave_up = true;
                udp_send(c, &slot, 1);
            } else if (c->sent_at[slot] + LOST_AFTER < next)
                next = c->sent_at[slot] + LOST_AFTER;
        }
    return next;
}

/* ---- the run ---- */

static void handle_events(u64 now, u64 until)
{
    struct epoll_event events[256];
    int wait_ms = until > now ? (int)((until - now) / 1000000 + 1) : 0;
    int n = epoll_wait(epoll_fd, events, 256, wait_ms);
    if (n < 0 && errno != EINTR)
        err(2, "epoll_wait");
    for (int i = 0; i < n; i++) {
        struct conn *c = events[i].data.ptr;
        if (mode == UDP_CLOSED)
            (events[i].events & EPOLLOUT ? udp_start : udp_receive)(c);
        else if (!(events[i].events & EPOLLOUT) || tcp_send(c))
            tcp_receive(c);
    }
}

static void stop(u64 now)
{
    window = counting ? now - window_start : 0;
    window_cpu = counting ? clock_ns(CLOCK_PROCESS_CPUTIME_ID) - window_cpu : 0;
    counting = false;
    stopping = true;
    fputs("stopping\n", stderr);
}

static void run(struct conn *conns, u64 duration)
{
    u64 now = clock_ns(CLOCK_MONOTONIC), warm = 0, end = 0, give_up = now + SETUP, look = now;
    for (int i = 0; i < sockets; i++)
        open_socket(&conns[i]);
    while (live > 0 && (!end || now < end + GRACE) && errors < MAX_ERRORS) {
        u64 until = !end ? give_up : stopping ? end + GRACE : counting ? end : warm;
        if (mode == UDP_CLOSED && !stopping && now >= look)
            look = udp_give_up(conns, now);
        handle_events(now, mode == UDP_CLOSED && !stopping && look < until ? look : until);
        now = clock_ns(CLOCK_MONOTONIC);
        if (!end && (served == sockets || mode == TCP_CHURN || now >= give_up))
            warm = now + duration / 5, end = now + duration;
        if (end && !stopping && !counting && now >= warm) {
            counting = true;
            fputs("counting\n", stderr);
            window_start = now;
            window_cpu = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
        }
        if (end && !stopping && now >= end)
            stop(now);
    }
    if (!stopping) /* everybody was refused or thrown out */
        stop(now);
}

static void print_results(void)
{
    double seconds = (double)window / 1e9, rate = window ? (double)messages / seconds : 0;
    printf("{\"mode\": \"%s\", \"messages\": %llu, \"seconds\": %.6f, \"rate\": %.1f, "
           "\"connections\": %d, \"errors\": %llu, \"lost\": %llu, \"mismatches\": %llu, "
           "\"p50_us\": %.1f, \"p99_us\": %.1f, \"cpu_seconds\": %.6f, \"total\": %llu}\n",
           MODES[mode], messages, seconds, rate, served, errors, lost, mismatches,
           percentile_us(0.5), percentile_us(0.99), (double)window_cpu / 1e9, total);
}

/* ---- the command line ---- */

static double number(const char *text, double low, double high, const char *name)
{
    char *end;
    double value = strtod(text, &end);
    if (end == text || *end || !(value >= low && value <= high))
        errx(2, "%s must be a number from %g to %g", name, low, high);
    return value;
}

static void parse_address(const char *host, in_port_t port)
{
    server.v4.sin_port = htons(port); /* where sin6_port is, too */
    if (inet_pton(AF_INET, host, &server.v4.sin_addr) == 1) {
        server.v4.sin_family = AF_INET;
        if (ntohl(server.v4.sin_addr.s_addr) >> 24 == IN_LOOPBACKNET)
            return;
    } else if (inet_pton(AF_INET6, host, &server.v6.sin6_addr) == 1) {
        server.v6.sin6_family = AF_INET6;
        if (IN6_IS_ADDR_LOOPBACK(&server.v6.sin6_addr))
            return;
    }
    errx(2, "HOST must be a numeric loopback address");
}

int main(int argc, char **argv)
{
    while (argc > 1 && mode <= UDP_CLOSED && strcmp(argv[1], MODES[mode]))
        mode++;
    if (argc < 7 || argc > (mode == TCP_CHURN ? 7 : 8) || mode > UDP_CLOSED)
        errx(2, "usage: tcp-closed|tcp-churn|udp-closed HOST PORT SOCKETS SIZE SECONDS [PIPELINE]");
    parse_address(argv[2], (in_port_t)number(argv[3], 1, 65535, "PORT"));
    sockets = (int)number(argv[4], 1, MAX_SOCKETS, "SOCKETS");
    size = (u64)number(argv[5], 1, mode == UDP_CLOSED ? MAX_DATAGRAM : 1 << 30, "SIZE");
    double seconds = number(argv[6], 0.1, 3600, "SECONDS");
    if (argc == 8)
        pipeline = (u64)number(argv[7], 1, mode == UDP_CLOSED ? BATCH : 1024, "PIPELINE");
    if (mode == UDP_CLOSED && pipeline * size > MAX_DATAGRAM)
        errx(2, "PIPELINE datagrams of SIZE must fit into %d bytes", MAX_DATAGRAM);

    struct conn *conns = calloc((size_t)sockets, sizeof *conns);
    u64 *slots = calloc(2 * (size_t)sockets * (size_t)pipeline, sizeof *slots);
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (!conns || !slots || epoll_fd < 0)
        err(2, "start");
    for (int i = 0; i < sockets; i++) {
        conns[i].sent_at = slots + 2 * (size_t)i * (size_t)pipeline;
        conns[i].position = conns[i].sent_at + pipeline;
        memset(conns[i].position, 0xff, (size_t)pipeline * sizeof *slots); /* NONE */
    }
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    fill_pattern();
    run(conns, (u64)(seconds * 1e9));
    print_results();
    free(slots);
    free(conns);
    return mismatches ? 1 : 0;
}
