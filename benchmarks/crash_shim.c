/* Ends the process inside its n-th write to a folder, or lets every write from the n-th on fail as on a full disk.

   Built and loaded (LD_PRELOAD) by benchmarks/crashes.py. It stands between a program and the system calls that change
   files, so it reaches the writes of SQLite and safetensors too. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { COUNT, KILL, FULL };
static long seen, at;
static int mode;
static char folder[PATH_MAX];

void crash_arm(long n, int how, const char *path) {
    seen = 0, at = n, mode = how;
    snprintf(folder, sizeof folder, "%s/", path);
}

long crash_seen(void) { return seen; }

static int ours(int fd) {
    char link[64], name[PATH_MAX];
    if (!folder[0]) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, name, sizeof name - 1);
    if (n < 0) return 0;
    name[n] = 0;
    /* The log of the command is no work of ours. */
    return !strncmp(name, folder, strlen(folder)) && !strstr(name, ".log");
}

static int here(void) { /* is this call the one? */
    ++seen;
    return mode == KILL ? seen == at : mode == FULL && seen >= at;
}

static void die(void) { kill(getpid(), SIGKILL); for (;;) pause(); }

#define REAL(name) ((__typeof__(name) *)dlsym(RTLD_NEXT, #name))

ssize_t write(int fd, const void *data, size_t n) {
    if (ours(fd) && here()) {
        if (mode == FULL) { errno = ENOSPC; return -1; }
        REAL(write)(fd, data, n / 2);
        die();
    }
    return REAL(write)(fd, data, n);
}

#define PWRITE(name, offset)                                       \
    ssize_t name(int fd, const void *data, size_t n, offset where) { \
        if (ours(fd) && here()) {                                  \
            if (mode == FULL) { errno = ENOSPC; return -1; }       \
            REAL(name)(fd, data, n / 2, where);                    \
            die();                                                 \
        }                                                          \
        return REAL(name)(fd, data, n, where);                     \
    }
PWRITE(pwrite, off_t)
PWRITE(pwrite64, off64_t)

#define SYNC(name)                                                 \
    int name(int fd) {                                             \
        if (ours(fd) && here() && mode == KILL) die();             \
        return REAL(name)(fd);                                     \
    }
SYNC(fsync)
SYNC(fdatasync)

int rename(const char *from, const char *to) {
    if (folder[0] && !strncmp(to, folder, strlen(folder)) && here() && mode == KILL) {
        if (at % 2) REAL(rename)(from, to); /* half of them just after, before the folder is synced */
        die();
    }
    return REAL(rename)(from, to);
}

int ftruncate64(int fd, off64_t size) {
    if (ours(fd) && here()) {
        if (mode == FULL) { errno = ENOSPC; return -1; }
        die();
    }
    return REAL(ftruncate64)(fd, size);
}
