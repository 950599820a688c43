/* SPDX-License-Identifier: MIT */
/*
 * A library to preload: appends every call that changes files below one folder to a trace file, with its data.
 *
 * LevelDB inside the wheel of plyvel and Python itself call the C library through the dynamic linker, so this sees the
 * calls of both. The real call and its line in the trace are made under one lock: the order in the trace is the order
 * in which the calls happened. Only calls that succeeded are written.
 *
 * Environment: POWER_LOSS_ROOT (folder, no symbolic links in it), POWER_LOSS_TRACE (file, appended to),
 * POWER_LOSS_KILL (ends the process without any cleaning up after so many calls). Or from Python, through ctypes:
 * power_loss_start(root, trace), power_loss_stop(), power_loss_note(bytes, length).
 *
 * A call that changes files in a way that the model does not know is written as UNMODELLED, and the run then fails.
 */
#include "recorder.h"

#include <pthread.h>

/* 48 bytes, little-endian; then the two paths and the data. tests/power_loss/trace.py reads it. */
struct line {
    uint32_t length;
    uint32_t op;
    int32_t pid;
    int32_t fd;
    int64_t a;
    int64_t b;
    uint32_t path_bytes;
    uint32_t second_bytes;
    uint32_t data_bytes;
    uint32_t flags;
};

unsigned char pl_known[MAX_FD];
static char root[PATH_MAX];
static size_t root_bytes;
int pl_trace_fd = -1;
static long kill_after = -1;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

void pl_close(int fd) { syscall(SYS_close, fd); }

void pl_fail(const char *text) {
    ssize_t ignored = syscall(SYS_write, 2, text, strlen(text));
    (void)ignored;
    _exit(120);
}

void pl_begin(void) { pthread_mutex_lock(&mutex); }

void pl_end(void) {
    int saved = errno;
    pthread_mutex_unlock(&mutex);
    errno = saved;
}

void pl_emit(uint32_t op, int fd, int64_t a, int64_t b, const char *path, const char *second, const void *data,
                 size_t data_bytes) {
    if (pl_trace_fd < 0) return;
    int saved = errno;
    size_t path_bytes = path ? strlen(path) : 0, second_bytes = second ? strlen(second) : 0;
    struct line line = {(uint32_t)(sizeof line + path_bytes + second_bytes + data_bytes), op, getpid(), fd, a, b,
                        (uint32_t)path_bytes, (uint32_t)second_bytes, (uint32_t)data_bytes, 0};
    struct iovec parts[4] = {{&line, sizeof line}, {(void *)path, path_bytes}, {(void *)second, second_bytes},
                             {(void *)data, data_bytes}};
    if (syscall(SYS_writev, pl_trace_fd, parts, 4) != (ssize_t)line.length) pl_fail("power_loss: the trace is full\n");
    if (kill_after >= 0 && op != CLOSE && op != DUP && op != NOTE && kill_after-- == 0) _exit(137);
    errno = saved;
}

/* The path below the root ("" is the root itself), or NULL where it lies elsewhere. */
const char *pl_below(int folder, const char *path, char *out) {
    if (pl_trace_fd < 0 || !path) return NULL;
    char whole[PATH_MAX * 2];
    if (path[0] == '/') {
        snprintf(whole, sizeof whole, "%s", path);
    } else {
        char base[PATH_MAX];
        if (folder == AT_FDCWD) {
            if (!getcwd(base, sizeof base)) return NULL;
        } else {
            char link[64];
            snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
            ssize_t got = readlink(link, base, sizeof base - 1);
            if (got < 0) return NULL;
            base[got] = 0;
        }
        snprintf(whole, sizeof whole, "%s/%s", base, path);
    }
    size_t used = 0;
    for (const char *from = whole; *from;) {
        while (*from == '/') from++;
        const char *stop = strchrnul(from, '/');
        size_t bytes = (size_t)(stop - from);
        if (bytes == 0 || (bytes == 1 && from[0] == '.')) {
            from = stop;
            continue;
        }
        if (bytes == 2 && from[0] == '.' && from[1] == '.') {
            while (used && out[--used] != '/') {}
            from = stop;
            continue;
        }
        if (used + bytes + 2 > PATH_MAX) return NULL;
        out[used++] = '/';
        memcpy(out + used, from, bytes);
        used += bytes;
        from = stop;
    }
    out[used] = 0;
    if (strncmp(out, root, root_bytes) != 0 || (out[root_bytes] != '/' && out[root_bytes] != 0)) return NULL;
    return out[root_bytes] ? out + root_bytes + 1 : out + root_bytes;
}

const char *pl_path_of(int fd, char *out) {
    char link[64], base[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t got = readlink(link, base, sizeof base - 1);
    if (got < 0) return NULL;
    base[got] = 0;
    return pl_below(AT_FDCWD, base, out);
}

int pl_tracked(int fd) { return pl_trace_fd >= 0 && fd >= 0 && fd < MAX_FD && pl_known[fd] == TRACKED; }

__attribute__((visibility("default"))) void power_loss_start(const char *folder, const char *trace) {
    pl_begin();
    snprintf(root, sizeof root, "%s", folder);
    root_bytes = strlen(root);
    memset(pl_known, 0, sizeof pl_known);
    pl_trace_fd = (int)syscall(SYS_openat, AT_FDCWD, trace, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (pl_trace_fd < 0) pl_fail("power_loss: the trace cannot be opened\n");
    /* Out of the way of programs that count on low numbers. */
    int high = (int)syscall(SYS_fcntl, pl_trace_fd, F_DUPFD_CLOEXEC, 500);
    if (high >= 0) {
        pl_close(pl_trace_fd);
        pl_trace_fd = high;
    }
    pl_end();
}

__attribute__((visibility("default"))) void power_loss_stop(void) {
    pl_begin();
    if (pl_trace_fd >= 0) pl_close(pl_trace_fd);
    pl_trace_fd = -1;
    pl_end();
}

__attribute__((visibility("default"))) void power_loss_note(const char *data, uint64_t bytes) {
    pl_begin();
    pl_emit(NOTE, -1, 0, 0, NULL, NULL, data, bytes);
    pl_end();
}

/* Ends the process after so many more calls; below 0 it does not. */
__attribute__((visibility("default"))) void power_loss_kill(long calls) { kill_after = calls; }

__attribute__((constructor)) static void load(void) {
    const char *folder = getenv("POWER_LOSS_ROOT"), *trace = getenv("POWER_LOSS_TRACE"), *calls = getenv("POWER_LOSS_KILL");
    if (calls) kill_after = atol(calls);
    if (folder && trace) power_loss_start(folder, trace);
}
