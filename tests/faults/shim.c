/* Counts calls at files below a folder; at the n-th one the process dies, or the call fails.
 *
 * Preloaded (LD_PRELOAD), for the checkpoint library writes from C++. Nothing is counted before
 * `fault_arm`, which the process calls once it knows its folder. The n-th call leaves a line with
 * its name and its path in the marker, so that a fault that was never reached is known as such.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { OPEN = 1, WRITE = 2, RENAME = 4, FSYNC = 8, UNLINK = 16, MKDIR = 32 };

static char folder[PATH_MAX];
static atomic_long counts[6], count, stop_at = -1;
static int kinds, error_number, lasting, marker = -1;
static const char *const NAMES[] = {"open", "write", "rename", "fsync", "unlink", "mkdir"};

/* `error` 0 kills. `lasting`: all later calls fail, too, as on a full disk. */
void fault_arm(const char *below, const char *mark, long at, int which, int error, int last) {
  strncpy(folder, below, sizeof folder - 1);
  marker = open(mark, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  kinds = which;
  error_number = error;
  lasting = last;
  count = 0;
  stop_at = at;
}

/* How many calls there were of a kind. */
long fault_count(int kind) { return counts[__builtin_ctz(kind)]; }

static int fault(int kind, const char *path) {
  atomic_fetch_add(&counts[__builtin_ctz(kind)], 1);
  if (!(kinds & kind)) return 0;
  long now = atomic_fetch_add(&count, 1);
  if (now < stop_at || (now > stop_at && !lasting)) return 0;
  if (now == stop_at) {
    char line[PATH_MAX + 16];
    int size = snprintf(line, sizeof line, "%s %s\n", NAMES[__builtin_ctz(kind)], path);
    syscall(SYS_write, marker, line, (size_t)size);
  }
  if (!error_number) kill(getpid(), SIGKILL);
  errno = error_number;
  return 1;
}

static int below(const char *path) {
  return stop_at >= 0 && folder[0] && strncmp(path, folder, strlen(folder)) == 0;
}

static int below_at(int at, const char *path) {
  if (stop_at < 0 || path[0] == '/') return stop_at >= 0 && below(path);
  char link[64] = "/proc/self/cwd", whole[PATH_MAX];
  if (at != AT_FDCWD) snprintf(link, sizeof link, "/proc/self/fd/%d", at);
  ssize_t size = readlink(link, whole, sizeof whole - 2);
  if (size < 0) return 0;
  whole[size] = '/';
  whole[size + 1] = 0;
  return below(whole);
}

static int fd_fault(int fd, int kind) {
  if (stop_at < 0) return 0;
  int before = errno;
  char link[64], whole[PATH_MAX];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t size = readlink(link, whole, sizeof whole - 1);
  errno = before;
  if (size < 0) return 0;
  whole[size] = 0;
  return below(whole) && fault(kind, whole);
}

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define MODE(flags, mode)                                     \
  mode_t mode = 0;                                            \
  if ((flags) & (O_CREAT | O_TMPFILE)) {                      \
    va_list rest;                                             \
    va_start(rest, flags);                                    \
    mode = va_arg(rest, mode_t);                              \
    va_end(rest);                                             \
  }
/* Reading is no fault of these campaigns: damage of what is read has one of its own. */
#define WRITES(flags) ((flags) & (O_WRONLY | O_RDWR | O_CREAT))

int open(const char *path, int flags, ...) {
  MODE(flags, mode)
  if (WRITES(flags) && below_at(AT_FDCWD, path) && fault(OPEN, path)) return -1;
  return NEXT(open)(path, flags, mode);
}
int open64(const char *path, int flags, ...) {
  MODE(flags, mode)
  if (WRITES(flags) && below_at(AT_FDCWD, path) && fault(OPEN, path)) return -1;
  return NEXT(open64)(path, flags, mode);
}
int openat(int at, const char *path, int flags, ...) {
  MODE(flags, mode)
  if (WRITES(flags) && below_at(at, path) && fault(OPEN, path)) return -1;
  return NEXT(openat)(at, path, flags, mode);
}
int openat64(int at, const char *path, int flags, ...) {
  MODE(flags, mode)
  if (WRITES(flags) && below_at(at, path) && fault(OPEN, path)) return -1;
  return NEXT(openat64)(at, path, flags, mode);
}
ssize_t write(int fd, const void *data, size_t size) {
  if (fd_fault(fd, WRITE)) return -1;
  return NEXT(write)(fd, data, size);
}
ssize_t writev(int fd, const struct iovec *parts, int number) {
  if (fd_fault(fd, WRITE)) return -1;
  return NEXT(writev)(fd, parts, number);
}
ssize_t pwrite(int fd, const void *data, size_t size, off_t at) {
  if (fd_fault(fd, WRITE)) return -1;
  return NEXT(pwrite)(fd, data, size, at);
}
ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) {
  if (fd_fault(fd, WRITE)) return -1;
  return NEXT(pwrite64)(fd, data, size, at);
}
int rename(const char *from, const char *to) {
  if (below_at(AT_FDCWD, to) && fault(RENAME, to)) return -1;
  return NEXT(rename)(from, to);
}
int renameat(int from_at, const char *from, int at, const char *to) {
  if (below_at(at, to) && fault(RENAME, to)) return -1;
  return NEXT(renameat)(from_at, from, at, to);
}
int fsync(int fd) {
  if (fd_fault(fd, FSYNC)) return -1;
  return NEXT(fsync)(fd);
}
int fdatasync(int fd) {
  if (fd_fault(fd, FSYNC)) return -1;
  return NEXT(fdatasync)(fd);
}
int unlink(const char *path) {
  if (below_at(AT_FDCWD, path) && fault(UNLINK, path)) return -1;
  return NEXT(unlink)(path);
}
int unlinkat(int at, const char *path, int flags) {
  if (below_at(at, path) && fault(UNLINK, path)) return -1;
  return NEXT(unlinkat)(at, path, flags);
}
int rmdir(const char *path) {
  if (below_at(AT_FDCWD, path) && fault(UNLINK, path)) return -1;
  return NEXT(rmdir)(path);
}
int mkdir(const char *path, mode_t mode) {
  if (below_at(AT_FDCWD, path) && fault(MKDIR, path)) return -1;
  return NEXT(mkdir)(path, mode);
}
