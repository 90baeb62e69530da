/* What the files of loadgen share; main.c says what the program does. */
#ifndef LOADGEN_H
#define LOADGEN_H

#include <netinet/in.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <time.h>

enum {
    PERIOD = 65521,       /* a prime: with other sizes, the next message is never like the last */
    SPAN = 1 << 18,       /* most bytes a send() or recv() moves */
    MAX_DATAGRAM = 65507, /* 65,535 less the IP and UDP headers */
    READY = 64,           /* sockets that are seen to in one turn: the last is soon timed, too */
    BATCH = 64,           /* datagrams received, or cut from one send, at a time: UDP_MAX_SEGMENTS */
};
typedef unsigned long long u64; /* what %llu prints */

enum mode { TCP_CLOSED, TCP_CHURN, UDP_CLOSED };

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

/* Set by the command line, and not changed then. */
extern enum mode mode;
extern union address { struct sockaddr any; struct sockaddr_in v4; struct sockaddr_in6 v6; } server;
extern u64 size, pipeline;
extern int epoll_fd, sockets;

/* The state of the run: sockets that are open, that were answered at least once; what is counted. */
extern int live, served;
extern bool counting, stopping;
extern u64 messages, total, errors, lost, mismatches;

/* common.c: the bytes of the messages, times, sockets */
void fill_pattern(void);
const unsigned char *bytes_at(const struct conn *c, u64 position);
u64 clock_ns(clockid_t clock);
double percentile_us(double share);
void count_message(struct conn *c, u64 started);
void arm(struct conn *c, bool writing, int operation);
void open_socket(struct conn *c);
void close_socket(struct conn *c);
void fail(struct conn *c, u64 *counter);

/* tcp.c; what returns bool returns false when the socket is closed or not to be sent to */
u64 tcp_allowed(const struct conn *c);
bool tcp_sent(struct conn *c, u64 now, ssize_t n);
bool tcp_send(struct conn *c);
bool tcp_received(struct conn *c, const unsigned char *bytes, ssize_t n);
void tcp_receive(struct conn *c);

/* batch.c */
bool may_batch(int n);
void tcp_exchange(struct conn **conns, int n);

/* udp.c; udp_give_up() returns when to look again */
void udp_start(struct conn *c);
void udp_receive(struct conn *c);
u64 udp_give_up(struct conn *conns, u64 now);

#endif
