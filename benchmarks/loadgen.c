/*
 * loadgen - closed-loop load for an echo server: one thread, one epoll set, every byte verified.
 *
 *   loadgen tcp-closed HOST PORT CONNECTIONS SIZE SECONDS [PIPELINE]
 *   loadgen tcp-churn  HOST PORT CONCURRENCY SIZE SECONDS
 *   loadgen udp-closed HOST PORT SOCKETS SIZE SECONDS
 *
 * tcp-closed  every connection sends a message of SIZE bytes, waits for the whole reply and sends
 *             the next; PIPELINE messages (default 1) are in flight at a time.
 * tcp-churn   connect, send, verify the reply, close, again; CONCURRENCY connections at a time.
 * udp-closed  every socket has one datagram in flight; one without a reply for 500 ms is counted as
 *             lost, and the next is sent.
 *
 * HOST is a numeric loopback address. SECONDS begin when every socket has been answered once, or
 * after 5 s (churn: at once). Their first fifth warms up and is not counted. Replies on their way
 * get 200 ms more at most; then the run ends, whatever the server does.
 *
 * Prints one line of JSON, and before it, to standard error, "counting" and "stopping" as it begins
 * and ends to count. "cpu_seconds" over "seconds" is the share of a core that the generator used;
 * near 1 it was the generator that set the rate. "connections": how many of the SOCKETS were served
 * at least once. Times run from the first byte sent to the whole reply (churn: from connect() to
 * the server's own close) and are right to 1.6 %.
 *
 * Exit: 0 done; 1 a reply differed from what was sent; 2 wrong usage, or the system refused.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
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
};

static enum mode mode;
static union { struct sockaddr any; struct sockaddr_in v4; struct sockaddr_in6 v6; } server;
static u64 size, pipeline = 1;
static int epoll_fd, sockets, live, served;
static bool counting, stopping;
static u64 window_start, window, window_cpu; /* the part that counts */
static u64 messages, errors, lost, mismatches, opened;
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

static void open_socket(struct conn *c)
{
    int on = 1, type = mode == UDP_CLOSED ? SOCK_DGRAM : SOCK_STREAM;
    socklen_t length = server.any.sa_family == AF_INET ? sizeof server.v4 : sizeof server.v6;
    c->fd = socket(server.any.sa_family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0)
        err(2, "socket");
    if (type == SOCK_STREAM)
        setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
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
 * would be measured. Ports run short only beyond 28,000 connections a second, since Linux reuses on
 * loopback what has been in TIME_WAIT for a second (tcp_tw_reuse, the default since 4.19).
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

/* ---- UDP: the datagram in flight is the one at position `received` ---- */

static void udp_send(struct conn *c)
{
    c->sent_at[0] = clock_ns(CLOCK_MONOTONIC);
    if (send(c->fd, bytes_at(c, c->received), size, 0) < 0 && errno != EAGAIN)
        errors++; /* ECONNREFUSED tells of an earlier datagram; this one has its own time limit */
    arm(c, false, EPOLL_CTL_MOD);
}

/* Whether the buffer holds what was sent `back` datagrams ago. */
static bool holds(const struct conn *c, ssize_t n, u64 back)
{
    return (u64)n == size && !memcmp(buffer, bytes_at(c, c->received - back * size), size);
}

static void udp_receive(struct conn *c)
{
    ssize_t n = recv(c->fd, buffer, SPAN, 0);
    if (n < 0)
        return (void)(errors += errno != EAGAIN);
    u64 back = 0, most = c->gave_up ? c->received / size : 0; /* only then can a reply be late */
    while (!holds(c, n, back))
        if (++back > most || back > PERIOD) /* beyond which the pattern comes again */
            return fail(c, &mismatches);
    if (back)
        return;
    count_message(c, c->sent_at[0]);
    c->received += size;
    if (stopping)
        close_socket(c);
    else
        udp_send(c);
}

/* Gives up what waited too long and sends the next; returns when to look again. */
static u64 udp_give_up(struct conn *conns, u64 now)
{
    u64 next = now + LOST_AFTER;
    for (struct conn *c = conns; c < conns + sockets && !stopping; c++) {
        if (c->fd >= 0 && now >= c->sent_at[0] + LOST_AFTER) {
            lost++;
            c->gave_up = true;
            c->received += size;
            udp_send(c);
        }
        if (c->fd >= 0 && c->sent_at[0] + LOST_AFTER < next)
            next = c->sent_at[0] + LOST_AFTER;
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
            (events[i].events & EPOLLOUT ? udp_send : udp_receive)(c);
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
    u64 now = clock_ns(CLOCK_MONOTONIC), warm = 0, end = 0, give_up = now + SETUP;
    for (int i = 0; i < sockets; i++)
        open_socket(&conns[i]);
    while (live > 0 && (!end || now < end + GRACE) && errors < MAX_ERRORS) {
        u64 until = !end ? give_up : stopping ? end + GRACE : counting ? end : warm;
        u64 look = mode == UDP_CLOSED ? udp_give_up(conns, now) : until;
        handle_events(now, look < until ? look : until);
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
           "\"p50_us\": %.1f, \"p99_us\": %.1f, \"cpu_seconds\": %.6f}\n",
           MODES[mode], messages, seconds, rate, served, errors, lost, mismatches,
           percentile_us(0.5), percentile_us(0.99), (double)window_cpu / 1e9);
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
    if (argc < 7 || argc > (mode == TCP_CLOSED ? 8 : 7) || mode > UDP_CLOSED)
        errx(2, "usage: tcp-closed|tcp-churn|udp-closed HOST PORT SOCKETS SIZE SECONDS [PIPELINE]");
    parse_address(argv[2], (in_port_t)number(argv[3], 1, 65535, "PORT"));
    sockets = (int)number(argv[4], 1, MAX_SOCKETS, "SOCKETS");
    size = (u64)number(argv[5], 1, mode == UDP_CLOSED ? MAX_DATAGRAM : 1 << 30, "SIZE");
    double seconds = number(argv[6], 0.1, 3600, "SECONDS");
    if (argc == 8)
        pipeline = (u64)number(argv[7], 1, 1024, "PIPELINE");

    struct conn *conns = calloc((size_t)sockets, sizeof *conns);
    u64 *sent_at = calloc((size_t)sockets * (size_t)pipeline, sizeof *sent_at);
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (!conns || !sent_at || epoll_fd < 0)
        err(2, "start");
    for (int i = 0; i < sockets; i++)
        conns[i].sent_at = sent_at + (size_t)i * (size_t)pipeline;
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    fill_pattern();
    run(conns, (u64)(seconds * 1e9));
    print_results();
    free(sent_at);
    free(conns);
    return mismatches ? 1 : 0;
}
