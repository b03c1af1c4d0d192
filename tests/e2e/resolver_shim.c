/* Loaded before libc: names that end in .silent are looked up as with a name server that never answers; LOOKED_UP
   names a file that is made then. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **found) {
    static int (*next)(const char *, const char *, const struct addrinfo *, struct addrinfo **);
    if (!next)
        next = dlsym(RTLD_NEXT, "getaddrinfo");
    size_t length = node ? strlen(node) : 0;
    if (length > 7 && strcmp(node + length - 7, ".silent") == 0) {
        const char *name = getenv("LOOKED_UP");
        if (name)
            close(open(name, O_CREAT | O_WRONLY, 0644));
        sleep(60);
        return EAI_AGAIN;
    }
    return next(node, service, hints, found);
}
