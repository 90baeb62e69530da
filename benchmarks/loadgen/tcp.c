/* Streams: closed loops over connections that stay, and churn. */
#define _GNU_SOURCE
#include "loadgen.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>

static unsigned char buffer[SPAN];

/* Sends what may be in flight; false when that closed the socket. */
bool tcp_send(struct conn *c)
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

void tcp_receive(struct conn *c)
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
