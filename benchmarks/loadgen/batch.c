/*
 * Streams, many a system call: io_submit(2) makes the reads, or the writes, of all the connections
 * that are ready, so that the generator spends less on each message than any server. For sockets
 * there is nothing asynchronous in it: with RWF_NOWAIT all is done when it returns.
 */
#define _GNU_SOURCE
#include "loadgen.h"

#include <err.h>
#include <errno.h>
#include <linux/aio_abi.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { FEWEST = 4, ROOM = 16384 };

static aio_context_t context;
static unsigned char buffers[READY][ROOM];
static struct iocb requests[READY], *pointers[READY];
static struct io_event results[READY];

static bool is_there(void)
{
    static bool asked, there;
    if (!asked)
        there = syscall(SYS_io_setup, READY, &context) == 0;
    asked = true;
    return there; /* else a filter of system calls may be in the way: one by one, then */
}

static void request(int i, struct conn *c, int kind, const void *bytes, u64 length)
{
    requests[i] = (struct iocb){
        .aio_data = (uintptr_t)c, .aio_lio_opcode = (uint16_t)kind,
        .aio_fildes = (uint32_t)c->fd, .aio_buf = (uintptr_t)bytes, .aio_nbytes = length};
    pointers[i] = &requests[i];
}

/* The results of the first n requests, in their order. */
static void make(int n)
{
    if (syscall(SYS_io_submit, context, n, pointers) != n
        || syscall(SYS_io_getevents, context, n, n, results, NULL) != n)
        err(2, "io_submit");
}

bool may_batch(int n)
{
    return mode == TCP_CLOSED && n >= FEWEST && size * pipeline <= ROOM && is_there();
}

void tcp_exchange(struct conn **conns, int n)
{
    int writes = 0;
    for (int i = 0; i < n; i++)
        request(i, conns[i], IOCB_CMD_PREAD, buffers[i], ROOM);
    make(n);
    for (int i = 0; i < n; i++) {
        int64_t length = results[i].res;
        struct conn *c = conns[i];
        if (length == -EAGAIN || !tcp_received(c, buffers[i], length) || stopping)
            continue;
        u64 left = tcp_allowed(c) - c->sent;
        if (left)
            request(writes++, c, IOCB_CMD_PWRITE, bytes_at(c, c->sent), left);
    }
    if (!writes)
        return;
    u64 now = clock_ns(CLOCK_MONOTONIC);
    make(writes);
    for (int i = 0; i < writes; i++) {
        struct conn *c = (struct conn *)(uintptr_t)results[i].data;
        if (tcp_sent(c, now, results[i].res))
            arm(c, c->sent < tcp_allowed(c), EPOLL_CTL_MOD);
    }
}
