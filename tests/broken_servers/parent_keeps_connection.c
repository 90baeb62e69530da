/* The parent keeps its copy of each connection, so that none ever ends. */
#define FAILS "streams.half-close streams.end-at-once streams.end-of-nothing clients.churn processes.descriptors"

#include <arpa/inet.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

static void serve(int connection)
{
    char buffer[4096];
    ssize_t size;

    while ((size = read(connection, buffer, sizeof buffer)) > 0) {
        if (send(connection, buffer, size, 0) < 0)
            break;
    }
}

int main(int argc, char **argv)
{
    struct sockaddr_in address = { .sin_family = AF_INET };
    int listener = socket(AF_INET, SOCK_STREAM, 0), connection, on = 1;

    struct rlimit few = { 700, 700 }; /* by default often 1024 */

    (void)argc;
    setrlimit(RLIMIT_NOFILE, &few);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(atoi(argv[1]));
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 128)) {
        perror(argv[1]);
        return 1;
    }
    signal(SIGCHLD, SIG_IGN); /* children leave no zombies */
    while ((connection = accept(listener, NULL, NULL)) >= 0) {
        if (fork() == 0) {
            close(listener);
            serve(connection);
            _exit(0);
        }
    }
    return 1;
}
