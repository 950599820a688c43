/* SPDX-License-Identifier: MIT */
/* The calls that open, make, rename and remove. See recorder.c. */
#include "recorder.h"

static int opened(int fd, const char *path, int flags) {
    if (fd < 0) return fd;
    if (fd < MAX_FD) pl_known[fd] = UNKNOWN;
    if (!path || fd >= MAX_FD) return fd;
    struct stat status;
    int folder = fstat(fd, &status) == 0 && S_ISDIR(status.st_mode);
    if ((flags & O_TMPFILE) == O_TMPFILE) {
        pl_emit(UNMODELLED, fd, 0, 0, "O_TMPFILE", NULL, NULL, 0);
    } else if (folder || (flags & O_ACCMODE) != O_RDONLY || (flags & (O_CREAT | O_TRUNC))) {
        pl_known[fd] = TRACKED;
        pl_emit(OPEN, fd, flags, folder, path, NULL, NULL, 0);
    } else {
        pl_known[fd] = READ_ONLY;
    }
    return fd;
}

static mode_t mode_of(int flags, va_list rest) {
    return flags & O_CREAT || (flags & O_TMPFILE) == O_TMPFILE ? va_arg(rest, mode_t) : 0;
}

static int do_open(int folder, const char *name, int flags, mode_t mode) {
    char whole[PATH_MAX];
    pl_begin();
    const char *path = pl_below(folder, name, whole);
    int fd = opened((int)syscall(SYS_openat, folder, name, flags, mode), path, flags);
    pl_end();
    return fd;
}

#define OPENS(name) \
    int name(const char *path, int flags, ...) { \
        va_list rest; \
        va_start(rest, flags); \
        mode_t mode = mode_of(flags, rest); \
        va_end(rest); \
        return do_open(AT_FDCWD, path, flags, mode); \
    }
#define OPENS_AT(name) \
    int name(int folder, const char *path, int flags, ...) { \
        va_list rest; \
        va_start(rest, flags); \
        mode_t mode = mode_of(flags, rest); \
        va_end(rest); \
        return do_open(folder, path, flags, mode); \
    }
OPENS(open)
OPENS(open64)
OPENS_AT(openat)
OPENS_AT(openat64)
int creat(const char *path, mode_t mode) { return do_open(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode); }
int creat64(const char *path, mode_t mode) { return do_open(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode); }

/* What is written through a stream goes past us: only that the file is there is written down (LevelDB's own LOG). */
static void stream_opened(const char *path, const char *mode) {
    char whole[PATH_MAX];
    const char *name = pl_below(AT_FDCWD, path, whole);
    if (!name || (mode[0] == 'r' && !strchr(mode, '+'))) return;
    pl_emit(OPEN, -1, O_WRONLY | O_CREAT | (mode[0] == 'w' ? O_TRUNC : 0), 0, name, NULL, NULL, 0);
}

FILE *fopen(const char *path, const char *mode) {
    REAL(fopen);
    pl_begin();
    FILE *file = real(path, mode);
    if (file) stream_opened(path, mode);
    pl_end();
    return file;
}

FILE *fopen64(const char *path, const char *mode) {
    REAL(fopen64);
    pl_begin();
    FILE *file = real(path, mode);
    if (file) stream_opened(path, mode);
    pl_end();
    return file;
}

int close(int fd) {
    pl_begin();
    int done = (int)syscall(SYS_close, fd);
    if (pl_tracked(fd)) pl_emit(CLOSE, fd, 0, 0, NULL, NULL, NULL, 0);
    if (fd >= 0 && fd < MAX_FD) pl_known[fd] = UNKNOWN;
    pl_end();
    return done;
}

static int copied(int fd, int twin) {
    if (twin >= 0 && twin < MAX_FD) {
        pl_known[twin] = fd >= 0 && fd < MAX_FD ? pl_known[fd] : UNKNOWN;
        if (pl_tracked(fd)) pl_emit(DUP, fd, twin, 0, NULL, NULL, NULL, 0);
    }
    return twin;
}

int dup(int fd) {
    pl_begin();
    int twin = copied(fd, (int)syscall(SYS_dup, fd));
    pl_end();
    return twin;
}

int dup3(int fd, int wanted, int flags) {
    pl_begin();
    int twin = copied(fd, (int)syscall(SYS_dup3, fd, wanted, flags));
    pl_end();
    return twin;
}

int dup2(int fd, int wanted) {
    if (fd == wanted) return fcntl(fd, F_GETFD) < 0 ? -1 : fd;
    return dup3(fd, wanted, 0);
}

static int do_fcntl(int fd, int command, void *argument) {
    if (command != F_DUPFD && command != F_DUPFD_CLOEXEC) return (int)syscall(SYS_fcntl, fd, command, argument);
    pl_begin();
    int twin = copied(fd, (int)syscall(SYS_fcntl, fd, command, argument));
    pl_end();
    return twin;
}

int fcntl(int fd, int command, ...) {
    va_list rest;
    va_start(rest, command);
    void *argument = va_arg(rest, void *);
    va_end(rest);
    return do_fcntl(fd, command, argument);
}

int fcntl64(int fd, int command, ...) {
    va_list rest;
    va_start(rest, command);
    void *argument = va_arg(rest, void *);
    va_end(rest);
    return do_fcntl(fd, command, argument);
}

/* -- names */

static int do_rename(int from_folder, const char *from, int to_folder, const char *to, unsigned flags) {
    char first[PATH_MAX], second[PATH_MAX];
    pl_begin();
    const char *old = pl_below(from_folder, from, first), *new = pl_below(to_folder, to, second);
    int done = (int)syscall(SYS_renameat2, from_folder, from, to_folder, to, flags);
    if (done == 0 && (old || new)) {
        if (!old || !new || flags & ~RENAME_NOREPLACE) pl_emit(UNMODELLED, -1, 0, 0, "rename", NULL, NULL, 0);
        else pl_emit(RENAME, -1, 0, 0, old, new, NULL, 0);
    }
    pl_end();
    return done;
}
int rename(const char *from, const char *to) { return do_rename(AT_FDCWD, from, AT_FDCWD, to, 0); }
int renameat(int a, const char *from, int b, const char *to) { return do_rename(a, from, b, to, 0); }
int renameat2(int a, const char *from, int b, const char *to, unsigned flags) { return do_rename(a, from, b, to, flags); }

static int do_unlink(int folder, const char *name, int flags) {
    char whole[PATH_MAX];
    pl_begin();
    const char *path = pl_below(folder, name, whole);
    int done = (int)syscall(SYS_unlinkat, folder, name, flags);
    if (done == 0 && path) pl_emit(flags & AT_REMOVEDIR ? RMDIR : UNLINK, -1, 0, 0, path, NULL, NULL, 0);
    pl_end();
    return done;
}
int unlink(const char *name) { return do_unlink(AT_FDCWD, name, 0); }
int unlinkat(int folder, const char *name, int flags) { return do_unlink(folder, name, flags); }
int rmdir(const char *name) { return do_unlink(AT_FDCWD, name, AT_REMOVEDIR); }
int remove(const char *name) {
    int done = do_unlink(AT_FDCWD, name, 0);
    return done < 0 && errno == EISDIR ? do_unlink(AT_FDCWD, name, AT_REMOVEDIR) : done;
}

static int do_link(int from_folder, const char *from, int to_folder, const char *to, int flags) {
    char first[PATH_MAX], second[PATH_MAX];
    pl_begin();
    const char *old = pl_below(from_folder, from, first), *new = pl_below(to_folder, to, second);
    int done = (int)syscall(SYS_linkat, from_folder, from, to_folder, to, flags);
    if (done == 0 && new) {
        if (!old) pl_emit(UNMODELLED, -1, 0, 0, "link", NULL, NULL, 0);
        else pl_emit(LINK, -1, 0, 0, old, new, NULL, 0);
    }
    pl_end();
    return done;
}
int link(const char *from, const char *to) { return do_link(AT_FDCWD, from, AT_FDCWD, to, 0); }
int linkat(int a, const char *from, int b, const char *to, int flags) { return do_link(a, from, b, to, flags); }

static int do_mkdir(int folder, const char *name, mode_t mode) {
    char whole[PATH_MAX];
    pl_begin();
    const char *path = pl_below(folder, name, whole);
    int done = (int)syscall(SYS_mkdirat, folder, name, mode);
    if (done == 0 && path) pl_emit(MKDIR, -1, 0, 0, path, NULL, NULL, 0);
    pl_end();
    return done;
}
int mkdir(const char *name, mode_t mode) { return do_mkdir(AT_FDCWD, name, mode); }
int mkdirat(int folder, const char *name, mode_t mode) { return do_mkdir(folder, name, mode); }

static int do_symlink(const char *target, int folder, const char *name) {
    char whole[PATH_MAX];
    pl_begin();
    const char *path = pl_below(folder, name, whole);
    int done = (int)syscall(SYS_symlinkat, target, folder, name);
    if (done == 0 && path) pl_emit(UNMODELLED, -1, 0, 0, "symlink", NULL, NULL, 0);
    pl_end();
    return done;
}
int symlink(const char *target, const char *name) { return do_symlink(target, AT_FDCWD, name); }
int symlinkat(const char *target, int folder, const char *name) { return do_symlink(target, folder, name); }
