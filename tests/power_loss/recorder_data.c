/* SPDX-License-Identifier: MIT */
/* The calls that write, cut and make durable. See recorder.c. */
#include "recorder.h"

#include <sys/mman.h>
#include <sys/sendfile.h>

ssize_t write(int fd, const void *data, size_t bytes) {
    if (!pl_tracked(fd)) return syscall(SYS_write, fd, data, bytes);
    pl_begin();
    ssize_t done = syscall(SYS_write, fd, data, bytes);
    if (done > 0) pl_emit(WRITE, fd, syscall(SYS_lseek, fd, 0, SEEK_CUR) - done, 0, NULL, NULL, data, (size_t)done);
    pl_end();
    return done;
}

static ssize_t joined_write(int fd, const struct iovec *parts, int count, off_t offset, int at) {
    size_t bytes = 0;
    for (int i = 0; i < count; i++) bytes += parts[i].iov_len;
    char *joined = malloc(bytes + 1);
    if (!joined) pl_fail("power_loss: no memory\n");
    size_t place = 0;
    for (int i = 0; i < count; i++) {
        memcpy(joined + place, parts[i].iov_base, parts[i].iov_len);
        place += parts[i].iov_len;
    }
    pl_begin();
    ssize_t done = at ? syscall(SYS_pwrite64, fd, joined, bytes, offset) : syscall(SYS_write, fd, joined, bytes);
    if (done > 0) pl_emit(WRITE, fd, at ? offset : syscall(SYS_lseek, fd, 0, SEEK_CUR) - done, 0, NULL, NULL, joined, (size_t)done);
    pl_end();
    free(joined);
    return done;
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    if (!pl_tracked(fd)) return syscall(SYS_writev, fd, parts, count);
    return joined_write(fd, parts, count, 0, 0);
}

#define PWRITES(name, type) \
    ssize_t name(int fd, const void *data, size_t bytes, type offset) { \
        if (!pl_tracked(fd)) return syscall(SYS_pwrite64, fd, data, bytes, offset); \
        struct iovec part = {(void *)data, bytes}; \
        return joined_write(fd, &part, 1, offset, 1); \
    }
PWRITES(pwrite, off_t)
PWRITES(pwrite64, off64_t)

#define PWRITEVS(name, type) \
    ssize_t name(int fd, const struct iovec *parts, int count, type offset) { \
        REAL(name); \
        return pl_tracked(fd) ? joined_write(fd, parts, count, offset, 1) : real(fd, parts, count, offset); \
    }
PWRITEVS(pwritev, off_t)
PWRITEVS(pwritev64, off64_t)

#define PWRITEVS2(name, type) \
    ssize_t name(int fd, const struct iovec *parts, int count, type offset, int flags) { \
        REAL(name); \
        return pl_tracked(fd) ? joined_write(fd, parts, count, offset, offset != -1) : real(fd, parts, count, offset, flags); \
    }
PWRITEVS2(pwritev2, off_t)
PWRITEVS2(pwritev64v2, off64_t)

static int do_ftruncate(int fd, off_t length) {
    pl_begin();
    int done = (int)syscall(SYS_ftruncate, fd, length);
    if (done == 0 && pl_tracked(fd)) pl_emit(FTRUNCATE, fd, length, 0, NULL, NULL, NULL, 0);
    pl_end();
    return done;
}
int ftruncate(int fd, off_t length) { return do_ftruncate(fd, length); }
int ftruncate64(int fd, off64_t length) { return do_ftruncate(fd, length); }

static int do_truncate(const char *name, off_t length) {
    char whole[PATH_MAX];
    pl_begin();
    const char *path = pl_below(AT_FDCWD, name, whole);
    int done = (int)syscall(SYS_truncate, name, length);
    if (done == 0 && path) pl_emit(TRUNCATE, -1, length, 0, path, NULL, NULL, 0);
    pl_end();
    return done;
}
int truncate(const char *name, off_t length) { return do_truncate(name, length); }
int truncate64(const char *name, off64_t length) { return do_truncate(name, length); }

static int allocated(int done, int fd, int mode, off_t offset, off_t bytes) {
    if (done == 0 && pl_tracked(fd)) {
        if (mode & ~FALLOC_FL_KEEP_SIZE) pl_emit(UNMODELLED, fd, 0, 0, "fallocate", NULL, NULL, 0);
        else if (!mode) pl_emit(ALLOCATE, fd, offset, bytes, NULL, NULL, NULL, 0);
    }
    return done;
}

#define ALLOCATES(name, type) \
    int name(int fd, int mode, type offset, type bytes) { \
        pl_begin(); \
        int done = allocated((int)syscall(SYS_fallocate, fd, mode, offset, bytes), fd, mode, offset, bytes); \
        pl_end(); \
        return done; \
    }
ALLOCATES(fallocate, off_t)
ALLOCATES(fallocate64, off64_t)

#define POSIX_ALLOCATES(name, type) \
    int name(int fd, type offset, type bytes) { \
        pl_begin(); \
        int done = (int)syscall(SYS_fallocate, fd, 0, offset, bytes); \
        int error = done == 0 ? 0 : errno; \
        allocated(done, fd, 0, offset, bytes); \
        pl_end(); \
        return error; \
    }
POSIX_ALLOCATES(posix_fallocate, off_t)
POSIX_ALLOCATES(posix_fallocate64, off64_t)

/* Copies inside the kernel: what arrived is read back from where it came from. */
static void arrived(int target, off_t offset, int source, off_t from, ssize_t bytes) {
    char *data = malloc((size_t)bytes);
    if (!data) pl_fail("power_loss: no memory\n");
    if (syscall(SYS_pread64, source, data, (size_t)bytes, from) != bytes) pl_fail("power_loss: a copy cannot be read back\n");
    pl_emit(WRITE, target, offset, 0, NULL, NULL, data, (size_t)bytes);
    free(data);
}

static ssize_t do_sendfile(int target, int source, off_t *from, size_t bytes) {
    pl_begin();
    off_t start = from ? *from : syscall(SYS_lseek, source, 0, SEEK_CUR);
    ssize_t done = syscall(SYS_sendfile, target, source, from, bytes);
    if (done > 0 && pl_tracked(target)) arrived(target, syscall(SYS_lseek, target, 0, SEEK_CUR) - done, source, start, done);
    pl_end();
    return done;
}
ssize_t sendfile(int target, int source, off_t *from, size_t bytes) { return do_sendfile(target, source, from, bytes); }
ssize_t sendfile64(int target, int source, off64_t *from, size_t bytes) {
    return do_sendfile(target, source, (off_t *)from, bytes);
}

ssize_t copy_file_range(int source, off64_t *from, int target, off64_t *to, size_t bytes, unsigned flags) {
    pl_begin();
    off_t start = from ? *from : syscall(SYS_lseek, source, 0, SEEK_CUR);
    off_t place = to ? *to : syscall(SYS_lseek, target, 0, SEEK_CUR);
    ssize_t done = syscall(SYS_copy_file_range, source, from, target, to, bytes, flags);
    if (done > 0 && pl_tracked(target)) arrived(target, place, source, start, done);
    pl_end();
    return done;
}

ssize_t splice(int source, off64_t *from, int target, off64_t *to, size_t bytes, unsigned flags) {
    pl_begin();
    ssize_t done = syscall(SYS_splice, source, from, target, to, bytes, flags);
    if (done > 0 && pl_tracked(target)) pl_emit(UNMODELLED, target, 0, 0, "splice", NULL, NULL, 0);
    pl_end();
    return done;
}

static void *do_mmap(void *start, size_t bytes, int protection, int flags, int fd, off_t offset) {
    if (pl_tracked(fd) && (protection & PROT_WRITE) && (flags & MAP_SHARED)) {
        pl_begin();
        pl_emit(UNMODELLED, fd, 0, 0, "mmap", NULL, NULL, 0);
        pl_end();
    }
    return (void *)syscall(SYS_mmap, start, bytes, protection, flags, fd, offset);
}
void *mmap(void *start, size_t bytes, int protection, int flags, int fd, off_t offset) {
    return do_mmap(start, bytes, protection, flags, fd, offset);
}
void *mmap64(void *start, size_t bytes, int protection, int flags, int fd, off64_t offset) {
    return do_mmap(start, bytes, protection, flags, fd, offset);
}

/* -- making durable */

static int do_sync(int fd, int number, int data_only) {
    char whole[PATH_MAX];
    pl_begin();
    int done = (int)syscall(number, fd);
    if (done == 0 && pl_tracked(fd)) {
        pl_emit(FSYNC, fd, data_only, 0, NULL, NULL, NULL, 0);
    } else if (done == 0 && pl_trace_fd >= 0 && fd >= 0 && fd < MAX_FD && pl_known[fd] == READ_ONLY) {
        const char *path = pl_path_of(fd, whole);
        if (path) pl_emit(FSYNC, -1, data_only, 0, path, NULL, NULL, 0);
    }
    pl_end();
    return done;
}
int fsync(int fd) { return do_sync(fd, SYS_fsync, 0); }
int fdatasync(int fd) { return do_sync(fd, SYS_fdatasync, 1); }

static void all_synced(void) { pl_emit(SYNC_ALL, -1, 0, 0, NULL, NULL, NULL, 0); }
void sync(void) {
    pl_begin();
    syscall(SYS_sync);
    all_synced();
    pl_end();
}
int syncfs(int fd) {
    pl_begin();
    int done = (int)syscall(SYS_syncfs, fd);
    if (done == 0) all_synced();
    pl_end();
    return done;
}
/* It waits for data, and for no metadata: of no use to a store, so it counts as nothing. */
int sync_file_range(int fd, off64_t offset, off64_t bytes, unsigned flags) {
    return (int)syscall(SYS_sync_file_range, fd, offset, bytes, flags);
}

