/*
 * epoll_echo - the plain single-threaded echo server in C: what an interpreter is measured against.
 *
 *   epoll_echo
 *
 * Level-triggered epoll, one read and one write a wake-up, one 64 KiB buffer for all connections.
 * What a write leaves over is kept by the connection, which is not read again until it is gone.
 * It takes a free port of 127.0.0.1, prints "listening on 127.0.0.1:PORT" and serves until SIGTERM.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BUFFER_SIZE = 65536, BACKLOG = 1024, EVENTS = 256 };

struct conn {
    int fd;
    char *rest;        /* not yet written; NULL: nothing */
    size_t start, end; /* which part of it */
};

static int epoll_fd;
static char buffer[BUFFER_SIZE];

static void watch(struct conn *c, int operation, unsigned events)
{
    struct epoll_event event = {.events = events, .data.ptr = c};
    if (epoll_ctl(epoll_fd, operation, c->fd, &event) < 0)
        err(1, "epoll_ctl");
}

static void end_connection(struct conn *c, const char *what)
{
    if (what)
        warn("%s", what);
    close(c->fd);
    free(c->rest);
    free(c);
}

static void accept_one(int listener)
{
    int on = 1, fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) {
        if (errno != EAGAIN && errno != ECONNABORTED && errno != EINTR)
            err(1, "accept4");
        return;
    }
    struct conn *c = calloc(1, sizeof *c);
    if (!c)
        err(1, "calloc");
    c->fd = fd;
    if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) < 0)
        warn("TCP_NODELAY");
    watch(c, EPOLL_CTL_ADD, EPOLLIN);
}

static void on_readable(struct conn *c)
{
    ssize_t n = recv(c->fd, buffer, sizeof buffer, 0);
    if (n <= 0) {
        if (n == 0 || errno != EAGAIN)
            end_connection(c, n == 0 ? NULL : "recv");
        return;
    }
    ssize_t sent = send(c->fd, buffer, (size_t)n, MSG_NOSIGNAL);
    if (sent == n)
        return;
    if (sent < 0 && errno != EAGAIN)
        return end_connection(c, "send");
    c->start = 0;
    c->end = (size_t)(n - (sent < 0 ? 0 : sent));
    c->rest = malloc(c->end);
    if (!c->rest)
        err(1, "malloc");
    memcpy(c->rest, buffer + n - c->end, c->end);
    watch(c, EPOLL_CTL_MOD, EPOLLOUT);
}

static void on_writable(struct conn *c)
{
    ssize_t sent = send(c->fd, c->rest + c->start, c->end - c->start, MSG_NOSIGNAL);
    if (sent < 0) {
        if (errno != EAGAIN)
            end_connection(c, "send");
        return;
    }
    c->start += (size_t)sent;
    if (c->start < c->end)
        return;
    free(c->rest);
    c->rest = NULL;
    watch(c, EPOLL_CTL_MOD, EPOLLIN);
}

static int listen_somewhere(void)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, length) < 0 || listen(fd, BACKLOG) < 0
        || getsockname(fd, (struct sockaddr *)&address, &length) < 0)
        err(1, "listen");
    printf("listening on 127.0.0.1:%d\n", ntohs(address.sin_port));
    fflush(stdout);
    return fd;
}

int main(void)
{
    struct epoll_event events[EVENTS];
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (epoll_fd < 0)
        err(1, "epoll_create1");
    struct conn listener = {.fd = listen_somewhere()};
    watch(&listener, EPOLL_CTL_ADD, EPOLLIN);
    for (;;) {
        int n = epoll_wait(epoll_fd, events, EVENTS, -1);
        if (n < 0 && errno != EINTR)
            err(1, "epoll_wait");
        for (int i = 0; i < n; i++) {
            struct conn *c = events[i].data.ptr;
            if (c == &listener)
                accept_one(listener.fd);
            else if (c->rest) /* then only EPOLLOUT is asked for; an error shows in send() */
                on_writable(c);
            else
                on_readable(c);
        }
    }
}
