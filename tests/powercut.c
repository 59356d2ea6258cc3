/* powercut: a library to preload, which records what a process does to the files of one directory.
 *
 * POWERCUT_DIRECTORY is its path, without symbolic links. Every change of a file in it, every fsync, and every mark that
 * the process makes is appended to the file POWERCUT_JOURNAL after it is done, in order:
 *
 *   struct record, then `length` bytes
 *   P  a process begins: it has nothing open
 *   O  open: fd, flags (in `offset`), name         W  write: fd, offset, bytes
 *   T  truncate: fd, new size (in `offset`)        S  fsync or fdatasync: fd
 *   U  unlink: name                                R  rename: old name, a zero byte, new name
 *   M  a mark: its text
 *
 * The name of the directory itself is empty. With POWERCUT_LIFE=n the process is killed in place of its n-th fsync.
 * Not recorded are changes of SQLite's -shm file, which is rebuilt from the -wal after a power cut, and
 * sync_file_range, sync and syncfs, which promise less than fsync. Other ways to change a file (a mapping, writev) are
 * not recorded either: the reader of the journal checks that it leads to the files that are there.
 */
#undef _FORTIFY_SOURCE /* its own open() would conflict with this one */
#undef _FILE_OFFSET_BITS
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

/* The function of this name that is called without this library. */
#define REAL(name)                                                \
    ({                                                            \
        static __typeof__(&name) real;                            \
        if (!real)                                                \
            *(void **)&real = dlsym(RTLD_NEXT, #name);            \
        real;                                                     \
    })

enum { FILES = 1024 };

struct record {
    uint32_t kind;
    int32_t fd;
    uint64_t offset, length;
};

static const char *directory;
static int journal = -1;
static long life;
static char recorded[FILES]; /* by fd: 1 for a file of the directory */

static void record(char kind, int fd, uint64_t offset, const void *data, size_t length)
{
    struct record head = {(uint32_t)kind, fd, offset, length};
    struct iovec parts[] = {{&head, sizeof head}, {(void *)data, length}};
    if (writev(journal, parts, 2) != (ssize_t)(sizeof head + length))
        abort();
}

__attribute__((constructor)) static void begin(void)
{
    const char *path = getenv("POWERCUT_JOURNAL"), *limit = getenv("POWERCUT_LIFE");
    directory = getenv("POWERCUT_DIRECTORY");
    if (!path || !directory)
        return;
    life = limit ? atol(limit) : 0;
    journal = REAL(open)(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    if (journal < 0)
        abort();
    record('P', -1, 0, "", 0);
}

/* Returns the name of a file in the directory, or NULL if it is elsewhere or not recorded. */
static const char *name_of(const char *path)
{
    size_t length = directory ? strlen(directory) : 0, whole = strlen(path);
    if (journal < 0 || strncmp(path, directory, length) != 0)
        return NULL;
    if (whole > 4 && strcmp(path + whole - 4, "-shm") == 0)
        return NULL;
    return path[length] == '/' ? path + length + 1 : path[length] ? NULL : path + length;
}

static int is_recorded(int fd)
{
    return fd >= 0 && fd < FILES && recorded[fd];
}

static int opened(int fd, int flags)
{
    char link[32], path[PATH_MAX];
    ssize_t length;
    const char *name;
    if (fd < 0 || journal < 0)
        return fd;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    length = readlink(link, path, sizeof path - 1);
    path[length < 0 ? 0 : length] = 0;
    name = name_of(path);
    if (fd >= FILES && name)
        abort();
    if (fd < FILES)
        recorded[fd] = name != NULL;
    if (name)
        record('O', fd, (uint64_t)flags, name, strlen(name));
    return fd;
}

static ssize_t wrote(int fd, const void *data, ssize_t length, off_t offset)
{
    if (length > 0 && is_recorded(fd))
        record('W', fd, (uint64_t)offset, data, (size_t)length);
    return length;
}

static int truncated(int fd, int result, off_t size)
{
    if (result == 0 && is_recorded(fd))
        record('T', fd, (uint64_t)size, "", 0);
    return result;
}

static void before_sync(int fd)
{
    if (is_recorded(fd) && life > 0 && --life == 0)
        kill(getpid(), SIGKILL);
}

static int synced(int fd, int result)
{
    if (result == 0 && is_recorded(fd))
        record('S', fd, 0, "", 0);
    return result;
}

/* Called by the process itself. */
void powercut_mark(const char *text)
{
    record('M', -1, 0, text, strlen(text));
}

/* The argument that open() has only if it may create a file. */
#define MODE(flags)                                               \
    ({                                                            \
        mode_t mode = 0;                                          \
        if ((flags) & O_CREAT) {                                  \
            va_list rest;                                         \
            va_start(rest, flags);                                \
            mode = (mode_t)va_arg(rest, int);                     \
            va_end(rest);                                         \
        }                                                         \
        mode;                                                     \
    })

int open(const char *path, int flags, ...)
{
    return opened(REAL(open)(path, flags, MODE(flags)), flags);
}

int openat(int at, const char *path, int flags, ...)
{
    return opened(REAL(openat)(at, path, flags, MODE(flags)), flags);
}

int creat(const char *path, mode_t mode)
{
    return opened(REAL(creat)(path, mode), O_CREAT | O_WRONLY | O_TRUNC);
}

int close(int fd)
{
    if (fd >= 0 && fd < FILES)
        recorded[fd] = 0;
    return REAL(close)(fd);
}

ssize_t write(int fd, const void *data, size_t length)
{
    ssize_t done = REAL(write)(fd, data, length);
    return wrote(fd, data, done, done > 0 && is_recorded(fd) ? lseek(fd, 0, SEEK_CUR) - done : 0);
}

ssize_t pwrite(int fd, const void *data, size_t length, off_t offset)
{
    return wrote(fd, data, REAL(pwrite)(fd, data, length, offset), offset);
}

int ftruncate(int fd, off_t size)
{
    return truncated(fd, REAL(ftruncate)(fd, size), size);
}

int fsync(int fd)
{
    before_sync(fd);
    return synced(fd, REAL(fsync)(fd));
}

int fdatasync(int fd)
{
    before_sync(fd);
    return synced(fd, REAL(fdatasync)(fd));
}

int unlink(const char *path)
{
    char whole[PATH_MAX];
    const char *name = realpath(path, whole) ? name_of(whole) : NULL;
    int result = REAL(unlink)(path);
    if (result == 0 && name)
        record('U', -1, 0, name, strlen(name));
    return result;
}

int rename(const char *old, const char *new)
{
    char before[PATH_MAX], after[PATH_MAX], both[2 * PATH_MAX];
    const char *from = realpath(old, before) ? name_of(before) : NULL, *to;
    int result = REAL(rename)(old, new);
    if (result == 0 && from && realpath(new, after) && (to = name_of(after)))
        record('R', -1, 0, both, (size_t)sprintf(both, "%s%c%s", from, 0, to));
    return result;
}

#ifdef __GLIBC__ /* elsewhere these are the same functions */
int open64(const char *path, int flags, ...)
{
    return opened(REAL(open64)(path, flags, MODE(flags)), flags);
}

int openat64(int at, const char *path, int flags, ...)
{
    return opened(REAL(openat64)(at, path, flags, MODE(flags)), flags);
}

int creat64(const char *path, mode_t mode)
{
    return opened(REAL(creat64)(path, mode), O_CREAT | O_WRONLY | O_TRUNC);
}

ssize_t pwrite64(int fd, const void *data, size_t length, off64_t offset)
{
    return wrote(fd, data, REAL(pwrite64)(fd, data, length, offset), offset);
}

int ftruncate64(int fd, off64_t size)
{
    return truncated(fd, REAL(ftruncate64)(fd, size), size);
}
#endif
