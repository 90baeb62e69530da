/* Looks at no result of send(), and is killed by SIGPIPE when the client has gone. */
#define FAILS "faults.reset-in-mid-echo faults.close-without-reading"
#define LEVEL "iterative"

#include <arpa/inet.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void serve(int connection)
{
    char buffer[4096];
    ssize_t size;

    while ((size = read(connection, buffer, sizeof buffer)) > 0)
        send(connection, buffer, size, 0);
}

int main(int argc, char **argv)
{
    struct sockaddr_in address = { .sin_family = AF_INET };
    int listener = socket(AF_INET, SOCK_STREAM, 0), connection, on = 1;

    (void)argc;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(atoi(argv[1]));
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 128)) {
        perror(argv[1]);
        return 1;
    }
    while ((connection = accept(listener, NULL, NULL)) >= 0) {
        serve(connection);
        close(connection);
    }
    return 1;
}
