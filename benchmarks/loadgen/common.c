/* Bytes, times and sockets: what streams and datagrams have in common. */
#define _GNU_SOURCE
#include "loadgen.h"

#include <err.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <unistd.h>

enum {
    SOURCES = 200,     /* client addresses that churn takes in turn: 127.0.1.1 and following */
    BUCKETS = 64 * 60, /* 64 a power of two, enough for any 64-bit number */
};

enum mode mode;
union address server;
u64 size, pipeline = 1;
int epoll_fd, sockets;
int live, served;
bool counting, stopping;
u64 messages, total, errors, lost, mismatches;

static u64 histogram[BUCKETS], opened;
static unsigned char pattern[PERIOD + SPAN];

/* ---- what is sent, and what must come back ---- */

void fill_pattern(void)
{
    uint32_t x = 2463534242u; /* xorshift32, G. Marsaglia 2003 */
    for (int i = 0; i < PERIOD; i++) {
        x ^= x << 13, x ^= x >> 17, x ^= x << 5;
        pattern[i] = (unsigned char)(x >> 11);
    }
    for (int i = 0; i < SPAN; i++) /* so that any SPAN bytes of the stream lie side by side */
        pattern[PERIOD + i] = pattern[i % PERIOD];
}

const unsigned char *bytes_at(const struct conn *c, u64 position)
{
    return pattern + (c->base + position) % PERIOD;
}

/* ---- times, kept as counts in buckets one sixty-fourth wide ---- */

u64 clock_ns(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (u64)t.tv_sec * 1000000000 + (u64)t.tv_nsec;
}

static unsigned bucket_of(u64 ns)
{
    unsigned shift = ns < 128 ? 0 : 57 - (unsigned)__builtin_clzll(ns);
    return shift * 64 + (unsigned)(ns >> shift);
}

double percentile_us(double share)
{
    u64 seen = 0, wanted = (u64)((double)messages * share);
    unsigned i = 0;
    while (i < BUCKETS - 1 && (seen += histogram[i]) <= wanted)
        i++;
    unsigned shift = i < 128 ? 0 : i / 64 - 1;
    return messages ? (double)((u64)(i - shift * 64) << shift) / 1e3 : 0;
}

void count_message(struct conn *c, u64 started)
{
    served += !c->answered && !stopping;
    c->answered = true;
    total++;
    messages += counting;
    histogram[bucket_of(clock_ns(CLOCK_MONOTONIC) - started)] += counting;
}

/* ---- sockets ---- */

void arm(struct conn *c, bool writing, int operation)
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

void open_socket(struct conn *c)
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

void close_socket(struct conn *c)
{
    close(c->fd);
    c->fd = -1;
    live--;
    if (mode == TCP_CHURN && !stopping)
        open_socket(c);
}

void fail(struct conn *c, u64 *counter)
{
    ++*counter;
    close_socket(c);
}
