/* A right echo server: one thread, epoll, and nothing is read from whoever does not read. */

#define _GNU_SOURCE /* accept4 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { SIZE = 65536, EVENTS = 64 };

struct client {
    int socket;
    int ended;                /* whether its input has ended */
    size_t begin, end;        /* what is to be sent yet, in bytes */
    char bytes[SIZE];
};

static int loop;

static void watch(struct client *client, int operation, uint32_t events)
{
    struct epoll_event event = { .events = events, .data.ptr = client };

    if (epoll_ctl(loop, operation, client->socket, &event))
        abort();
}

/* Sends what there is; 0: all has gone, 1: there is no room, -1: the client has gone. */
static int flush(struct client *client)
{
    while (client->begin < client->end) {
        ssize_t sent = send(client->socket, client->bytes + client->begin,
                            client->end - client->begin, MSG_NOSIGNAL);
        if (sent < 0)
            return errno == EAGAIN ? 1 : -1;
        client->begin += sent;
    }
    return 0;
}

static void end(struct client *client)
{
    close(client->socket);
    free(client);
}

/* One read and its answer: whoever says much does not keep the others waiting. */
static void serve(struct client *client)
{
    int left = flush(client);

    if (left == 0 && !client->ended) {
        ssize_t size = recv(client->socket, client->bytes, SIZE, 0);
        if (size < 0 && errno == EAGAIN)
            return;
        if (size < 0) {
            end(client);
            return;
        }
        client->ended = size == 0;
        client->begin = 0;
        client->end = size;
        left = flush(client);
    }
    if (left < 0 || (left == 0 && client->ended))
        end(client);
    else
        watch(client, EPOLL_CTL_MOD, left ? EPOLLOUT : EPOLLIN);
}

static void take(int listener)
{
    int socket = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    struct client *client;

    if (socket < 0)
        return; /* it has gone again */
    client = calloc(1, sizeof *client);
    if (client == NULL) {
        close(socket);
        return;
    }
    client->socket = socket;
    watch(client, EPOLL_CTL_ADD, EPOLLIN);
}

int main(int argc, char **argv)
{
    struct sockaddr_in address = { .sin_family = AF_INET };
    struct epoll_event events[EVENTS];
    struct epoll_event incoming = { .events = EPOLLIN, .data.ptr = NULL };
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), on = 1;

    (void)argc;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(atoi(argv[1]));
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 512)) {
        perror(argv[1]);
        return 1;
    }
    loop = epoll_create1(EPOLL_CLOEXEC);
    epoll_ctl(loop, EPOLL_CTL_ADD, listener, &incoming);
    for (;;) {
        int ready = epoll_wait(loop, events, EVENTS, -1);
        for (int i = 0; i < ready; i++) {
            if (events[i].data.ptr == NULL)
                take(listener);
            else
                serve(events[i].data.ptr);
        }
    }
}
