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
 * 1.6 %, and to what it takes to read from 64 sockets and to write to them, which is done together.
 *
 * Exit: 0 done; 1 a reply differed from what was sent; 2 wrong usage, or the system refused.
 */
#define _GNU_SOURCE
#include "loadgen.h"

#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>

enum {
    MAX_SOCKETS = 20000, /* below the 28,232 ephemeral ports that Linux gives by default */
    MAX_ERRORS = 1000,   /* a server that refuses everybody ends the run early */
};
static const u64 GRACE = 200000000, SETUP = 5000000000; /* nanoseconds */
static const char *const MODES[] = {"tcp-closed", "tcp-churn", "udp-closed"};

static u64 window_start, window, window_cpu; /* the part that counts */

static void handle_events(u64 now, u64 until)
{
    struct epoll_event events[READY];
    struct conn *together[READY];
    int wait_ms = until > now ? (int)((until - now) / 1000000 + 1) : 0, count = 0;
    int n = epoll_wait(epoll_fd, events, READY, wait_ms);
    if (n < 0 && errno != EINTR)
        err(2, "epoll_wait");
    bool batch = may_batch(n);
    for (int i = 0; i < n; i++) {
        struct conn *c = events[i].data.ptr;
        if (batch && !(events[i].events & EPOLLOUT)) {
            together[count++] = c;
            continue;
        }
        if (mode == UDP_CLOSED)
            (events[i].events & EPOLLOUT ? udp_start : udp_receive)(c);
        else if (!(events[i].events & EPOLLOUT) || tcp_send(c))
            tcp_receive(c);
    }
    if (count)
        tcp_exchange(together, count);
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
    signal(SIGPIPE, SIG_IGN); /* a write tells it as well */
    fill_pattern();
    run(conns, (u64)(seconds * 1e9));
    print_results();
    free(slots);
    free(conns);
    return mismatches ? 1 : 0;
}
