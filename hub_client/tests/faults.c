/* Loaded by LD_PRELOAD into `lamina`: lets the tests switch off the network, fill the disk, deny writes, and kill at any step.
   LAMINA_TEST_NO_SOCKETS     socket() aborts the process
   LAMINA_TEST_FULL_AFTER=N   writes to unfinished downloads fail with ENOSPC once N bytes were written
   LAMINA_TEST_FREE_BYTES=N   the file system says that N bytes are free
   LAMINA_TEST_DENY=TEXT      making or opening for writing what has TEXT in its path fails with EACCES
   LAMINA_TEST_LOCKS=all      flock() grants everything, as some network file systems do
   LAMINA_TEST_LOCKS=lost     the first lock file is removed just before it is locked, as some Python clients do when they let go
   LAMINA_TEST_KILL_AT=K      SIGKILL instead of the K-th step that changes a file (create, write, sync, rename, link, remove), or reads a download back
   LAMINA_TEST_FAIL_AT=K      the K-th of these steps fails with the errno LAMINA_TEST_ERRNO
   LAMINA_TEST_SHORT=N        writes and reads of unfinished downloads move N bytes at most, and fail with EINTR every other time
   LAMINA_TEST_KILL_AFTER=N   SIGKILL once N bytes of unfinished downloads were written */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define REAL(type, name) ((type)dlsym(RTLD_NEXT, name))

static atomic_long steps, download_bytes;

static long number(const char *name) {
  const char *text = getenv(name);
  return text ? atol(text) : -1;
}

/* Counts a step; not 0 when it must fail, with errno set. */
static int step(void) {
  const long killed = number("LAMINA_TEST_KILL_AT"), failing = number("LAMINA_TEST_FAIL_AT");
  if (killed < 0 && failing < 0) return 0;
  const long now = atomic_fetch_add(&steps, 1) + 1;
  if (now == killed) kill(getpid(), SIGKILL);
  if (now != failing) return 0;
  errno = (int)number("LAMINA_TEST_ERRNO");
  return -1;
}

static int denied(const char *path) {
  const char *text = getenv("LAMINA_TEST_DENY");
  if (!text || !path || !strstr(path, text)) return 0;
  errno = EACCES;
  return 1;
}

static int is_download(int file) {
  char name[64], path[4096];
  snprintf(name, sizeof name, "/proc/self/fd/%d", file);
  const ssize_t size = readlink(name, path, sizeof path - 1);
  if (size < 0) return 0;
  path[size] = 0;
  return strstr(path, ".incomplete") != NULL;
}

int socket(int domain, int type, int protocol) {
  if (getenv("LAMINA_TEST_NO_SOCKETS")) {
    fputs("a socket was opened\n", stderr);
    abort();
  }
  return REAL(int (*)(int, int, int), "socket")(domain, type, protocol);
}

int flock(int file, int operation) {
  static atomic_flag removed = ATOMIC_FLAG_INIT;
  const char *locks = getenv("LAMINA_TEST_LOCKS");
  if (locks && !strcmp(locks, "all")) return 0;
  if (locks && !strcmp(locks, "lost") && !atomic_flag_test_and_set(&removed)) {
    char name[64], path[4096];
    snprintf(name, sizeof name, "/proc/self/fd/%d", file);
    const ssize_t size = readlink(name, path, sizeof path - 1);
    if (size > 0) {
      path[size] = 0;
      unlink(path);
    }
  }
  return REAL(int (*)(int, int), "flock")(file, operation);
}

static int opened(const char *name, const char *path, int flags, mode_t mode) {
  if (flags & (O_CREAT | O_WRONLY | O_RDWR)) {
    if (denied(path)) return -1;
    if ((flags & O_CREAT) && step()) return -1;
  }
  return REAL(int (*)(const char *, int, mode_t), name)(path, flags, mode);
}
static mode_t mode_of(int flags, va_list list) { return flags & O_CREAT ? va_arg(list, mode_t) : 0; }

int open(const char *path, int flags, ...) {
  va_list list;
  va_start(list, flags);
  const mode_t mode = mode_of(flags, list);
  va_end(list);
  return opened("open", path, flags, mode);
}
int open64(const char *path, int flags, ...) {
  va_list list;
  va_start(list, flags);
  const mode_t mode = mode_of(flags, list);
  va_end(list);
  return opened("open64", path, flags, mode);
}

/* How many bytes one call may move; 0 when it is interrupted instead. */
static size_t shortened(size_t size) {
  static atomic_long calls;
  const long most = number("LAMINA_TEST_SHORT");
  if (most < 0) return size;
  errno = EINTR;
  return atomic_fetch_add(&calls, 1) % 2 ? 0 : size < (size_t)most ? size : (size_t)most;
}

ssize_t write(int file, const void *bytes, size_t size) {
  if (file > 2 && is_download(file)) {
    if (step()) return -1;
    const long full = number("LAMINA_TEST_FULL_AFTER"), last = number("LAMINA_TEST_KILL_AFTER");
    const long all = atomic_fetch_add(&download_bytes, (long)size) + (long)size;
    if (full >= 0 && all > full) {
      errno = ENOSPC;
      return -1;
    }
    if (last >= 0 && all > last) {
      const size_t part = all - last < (long)size ? size - (size_t)(all - last) : 0;
      REAL(ssize_t(*)(int, const void *, size_t), "write")(file, bytes, part);
      kill(getpid(), SIGKILL);
    }
    if (size && !(size = shortened(size))) return -1;
  }
  return REAL(ssize_t(*)(int, const void *, size_t), "write")(file, bytes, size);
}

/* A download is read back to be hashed. */
ssize_t pread(int file, void *bytes, size_t size, off_t at) {
  if (is_download(file) && (step() || (size && !(size = shortened(size))))) return -1;
  return REAL(ssize_t(*)(int, void *, size_t, off_t), "pread")(file, bytes, size, at);
}

int mkdir(const char *path, mode_t mode) {
  if (denied(path)) return -1;
  if (step()) return -1;
  return REAL(int (*)(const char *, mode_t), "mkdir")(path, mode);
}
int fsync(int file) {
  if (step()) return -1;
  return REAL(int (*)(int), "fsync")(file);
}
int rename(const char *from, const char *to) {
  if (denied(to)) return -1;
  if (step()) return -1;
  return REAL(int (*)(const char *, const char *), "rename")(from, to);
}
int symlink(const char *target, const char *path) {
  if (denied(path)) return -1;
  if (step()) return -1;
  return REAL(int (*)(const char *, const char *), "symlink")(target, path);
}
int unlink(const char *path) {
  if (step()) return -1;
  return REAL(int (*)(const char *), "unlink")(path);
}

int statvfs(const char *path, struct statvfs *facts) {
  const int result = REAL(int (*)(const char *, struct statvfs *), "statvfs")(path, facts);
  if (number("LAMINA_TEST_FREE_BYTES") >= 0) facts->f_bavail = (fsblkcnt_t)number("LAMINA_TEST_FREE_BYTES") / facts->f_frsize;
  return result;
}
