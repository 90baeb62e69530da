/* Datagrams: each slot of a socket's window has one in flight. */
#define _GNU_SOURCE
#include "loadgen.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>

/* Nanoseconds. A server that forks 200 times a second keeps the last of 50 waiting for 250 ms. */
static const u64 LOST_AFTER = 500000000;

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

void udp_start(struct conn *c)
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

void udp_receive(struct conn *c)
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
u64 udp_give_up(struct conn *conns, u64 now)
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
