/* Streams: closed loops over connections that stay, and churn. */
#define _GNU_SOURCE
#include "loadgen.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>

static unsigned char buffer[SPAN];

/* How far it may have sent by now. */
u64 tcp_allowed(const struct conn *c)
{
    return (c->received / size + pipeline) * size;
}

/* n more bytes left at that time, or -errno; false when that closed the socket. */
bool tcp_sent(struct conn *c, u64 now, ssize_t n)
{
    if (n < 0 && n != -EAGAIN)
        return fail(c, &errors), false;
    if (n < 0)
        n = 0;
    if (mode == TCP_CLOSED) /* every message whose first byte went out just now */
        for (u64 k = (c->sent + size - 1) / size; k * size < c->sent + (u64)n; k++)
            c->sent_at[k % pipeline] = now;
    c->sent += (u64)n;
    return true;
}

/* Sends what may be in flight; false when that closed the socket. */
bool tcp_send(struct conn *c)
{
    ssize_t n = 0;
    while (n >= 0 && c->sent < tcp_allowed(c)) {
        u64 now = clock_ns(CLOCK_MONOTONIC), left = tcp_allowed(c) - c->sent;
        n = send(c->fd, bytes_at(c, c->sent), left < SPAN ? left : SPAN, MSG_NOSIGNAL);
        n = n < 0 ? -errno : n;
        if (!tcp_sent(c, now, n))
            return false;
    }
    arm(c, c->sent < tcp_allowed(c), EPOLL_CTL_MOD);
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

/* n bytes came, 0 at the end of the stream, or -errno; false when that closed the socket. */
bool tcp_received(struct conn *c, const unsigned char *bytes, ssize_t n)
{
    if (n < 0)
        return fail(c, &errors), false;
    if ((u64)n > c->sent - c->received || memcmp(bytes, bytes_at(c, c->received), (size_t)n))
        return fail(c, &mismatches), false;
    if (mode == TCP_CHURN)
        return churn_received(c, n), false;
    if (n == 0) /* the server gave up on us */
        return fail(c, &errors), false;
    u64 first = c->received / size;
    c->received += (u64)n;
    for (u64 k = first; k < c->received / size; k++)
        count_message(c, c->sent_at[k % pipeline]);
    if (!stopping || c->received < c->sent)
        return true;
    close_socket(c);
    return false;
}

void tcp_receive(struct conn *c)
{
    ssize_t n = recv(c->fd, buffer, SPAN, 0);
    if (n < 0 && errno == EAGAIN)
        return;
    if (tcp_received(c, buffer, n < 0 ? -errno : n) && !stopping)
        tcp_send(c);
}
