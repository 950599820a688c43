/* SPDX-License-Identifier: MIT */
/* What the parts of the recorder share: the trace, and which descriptors belong to it. See recorder.c. */
#ifndef POWER_LOSS_RECORDER_H
#define POWER_LOSS_RECORDER_H

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum { OPEN = 1, CLOSE, DUP, WRITE, FTRUNCATE, TRUNCATE, FSYNC, RENAME, UNLINK, LINK, MKDIR, RMDIR, ALLOCATE, SYNC_ALL,
       UNMODELLED, NOTE };

#define MAX_FD 65536
enum { UNKNOWN = 0, TRACKED = 1, READ_ONLY = 2 };

#define REAL(name) \
    static __typeof__(name) *real; \
    if (!real) real = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)

#pragma GCC visibility push(hidden)
extern unsigned char pl_known[MAX_FD];
extern int pl_trace_fd;

void pl_close(int fd);
void pl_fail(const char *text);

/* Around the real call and its line. */
void pl_begin(void);
void pl_end(void);
void pl_emit(uint32_t op, int fd, int64_t a, int64_t b, const char *path, const char *second, const void *data,
             size_t data_bytes);

/* The path below the root ("" is the root itself), or NULL where it lies elsewhere; `out` has PATH_MAX bytes. */
const char *pl_below(int folder, const char *path, char *out);
const char *pl_path_of(int fd, char *out);

int pl_tracked(int fd);
#pragma GCC visibility pop

#endif
