/* Fail, or die at, one of the file operations below a folder.

   Preloaded into a process, so that the writes of torch, safetensors and tokenizers
   count like Python's own. `faults_arm` chooses the operation; until then, all are
   only counted. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

static char folder[PATH_MAX]; /* "": nothing is counted */
static long counted, chosen;  /* chosen: 0 for none */
static int fault;             /* an errno; 0: the process dies */

void faults_arm(const char *path, long number, int error) {
    strncpy(folder, path, sizeof folder - 1);
    counted = 0;
    chosen = number;
    fault = error;
}

long faults_counted(void) { return counted; }

/* Return whether an operation on `path` must fail, with errno set. */
static int fails(const char *path, int takes_space) {
    if (!folder[0] || !path || strncmp(path, folder, strlen(folder)) != 0) return 0;
    long number = __atomic_add_fetch(&counted, 1, __ATOMIC_SEQ_CST);
    /* A disk stays full; another error passes. */
    int is_now = number == chosen;
    if (fault == ENOSPC && chosen && number > chosen) is_now = takes_space;
    if (!is_now) return 0;
    if (!fault) {
        kill(getpid(), SIGKILL);
        pause();
    }
    if (fault == ENOSPC && !takes_space) return 0;
    errno = fault;
    return 1;
}

static const char *path_of(int descriptor, char *path) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, path, PATH_MAX - 1);
    path[length < 0 ? 0 : length] = 0;
    return path;
}

/* Of a path relative to an open folder; those relative to the current one do not count. */
static const char *path_at(int descriptor, const char *name, char *path) {
    if (name[0] == '/' || descriptor == AT_FDCWD) return name;
    path_of(descriptor, path);
    size_t length = strlen(path);
    snprintf(path + length, PATH_MAX - length, "/%s", name);
    return path;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define ON_DESCRIPTOR(type, name, takes, parameters, arguments)                          \
    type name parameters {                                                               \
        char path[PATH_MAX];                                                             \
        if (folder[0] && fails(path_of(fd, path), takes)) return -1;                     \
        return REAL(name) arguments;                                                     \
    }

ON_DESCRIPTOR(ssize_t, write, 1, (int fd, const void *data, size_t size),
              (fd, data, size))
ON_DESCRIPTOR(ssize_t, pwrite, 1, (int fd, const void *data, size_t size, off_t at),
              (fd, data, size, at))
ON_DESCRIPTOR(ssize_t, pwrite64, 1, (int fd, const void *data, size_t size, off64_t at),
              (fd, data, size, at))
ON_DESCRIPTOR(int, ftruncate, 1, (int fd, off_t size), (fd, size))
ON_DESCRIPTOR(int, ftruncate64, 1, (int fd, off64_t size), (fd, size))
ON_DESCRIPTOR(int, fsync, 1, (int fd), (fd))
ON_DESCRIPTOR(int, fdatasync, 1, (int fd), (fd))
ON_DESCRIPTOR(int, fchmod, 0, (int fd, mode_t mode), (fd, mode))

#define AT_PATH(name, takes, parameters, arguments)                                      \
    int name parameters {                                                                \
        if (fails(path, takes)) return -1;                                               \
        return REAL(name) arguments;                                                     \
    }

AT_PATH(mkdir, 1, (const char *path, mode_t mode), (path, mode))
AT_PATH(rmdir, 0, (const char *path), (path))
AT_PATH(unlink, 0, (const char *path), (path))
AT_PATH(chmod, 0, (const char *path, mode_t mode), (path, mode))
AT_PATH(rename, 1, (const char *path, const char *to), (path, to))
AT_PATH(symlink, 1, (const char *to, const char *path), (to, path))

int unlinkat(int at, const char *name, int flags) {
    char path[PATH_MAX];
    if (folder[0] && fails(path_at(at, name, path), 0)) return -1;
    return REAL(unlinkat)(at, name, flags);
}

#define OPENS(flags) ((flags) & (O_CREAT | O_WRONLY | O_RDWR | O_TRUNC))
#define OPEN(name)                                                                       \
    int name(const char *path, int flags, ...) {                                         \
        va_list list;                                                                    \
        va_start(list, flags);                                                           \
        mode_t mode = va_arg(list, mode_t);                                              \
        va_end(list);                                                                    \
        if (OPENS(flags) && fails(path, flags & O_CREAT)) return -1;                     \
        return REAL(name)(path, flags, mode);                                            \
    }
#define OPEN_AT(name)                                                                    \
    int name(int at, const char *given, int flags, ...) {                                \
        char path[PATH_MAX];                                                             \
        va_list list;                                                                    \
        va_start(list, flags);                                                           \
        mode_t mode = va_arg(list, mode_t);                                              \
        va_end(list);                                                                    \
        if (folder[0] && OPENS(flags) && fails(path_at(at, given, path), flags & O_CREAT)) \
            return -1;                                                                   \
        return REAL(name)(at, given, flags, mode);                                       \
    }

OPEN(open)
OPEN(open64)
OPEN_AT(openat)
OPEN_AT(openat64)
