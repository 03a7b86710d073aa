/* Stands between a program and the disk (LD_PRELOAD): tests/fault_tools.py loads it, and says what each part is for.
 *
 * Under FAULT_ROOT it can do two things, as the page shared in the file FAULT_CONTROL says:
 * - record every change and every fsync, in order, in the file FAULT_LOG;
 * - at the n-th such call, counted over all processes: kill this process or its whole group, before the call or after half
 *   of a write; or fail the call with an error, once or for good.
 * No ptrace is needed. What the recorder does not know (sendfile into a file, say) is recorded as such, and fails the test. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum { WRITE, SYNC, RENAME, UNLINK, LINK, TRUNCATE, MKDIR, RMDIR, CREATE, KINDS, SYNCED = KINDS, UNKNOWN };
enum { NOTHING, KILL, TEAR, FAIL };

struct control {  /* fault_tools.Control lays it out */
    uint32_t lock, recording, kinds, action, error, sticky, group, fired;
    int64_t countdown;
    int64_t counts[KINDS];
};
struct event {  /* followed by both paths and the data */
    uint32_t kind, pid;
    int64_t at, size;
    uint64_t inode;
    uint32_t path_bytes, other_bytes;
    uint64_t data_bytes;
};

static struct control *control;
static const char *root;
static int log_file = -1;
static size_t root_bytes;
static __thread int inside;

#define REAL(name) static __typeof__(&name) real; if (!real) real = (__typeof__(real))dlsym(RTLD_NEXT, #name)

__attribute__((constructor)) static void begin(void) {
    const char *page = getenv("FAULT_CONTROL"), *log = getenv("FAULT_LOG");
    root = getenv("FAULT_ROOT");
    if (!page || !log || !root) return;
    root_bytes = strlen(root);
    inside = 1;
    int file = open(page, O_RDWR | O_CLOEXEC), low = open(log, O_WRONLY | O_APPEND | O_CLOEXEC);
    log_file = fcntl(low, F_DUPFD_CLOEXEC, 900);
    void *found = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (found == MAP_FAILED || log_file < 0) abort();
    control = found;
    close(file);
    close(low);
    inside = 0;
}

static int is_below(const char *path) {
    return !strncmp(path, root, root_bytes) && (path[root_bytes] == '/' || !path[root_bytes]);
}

/* The absolute path of a name beside a folder's descriptor; 0 if it is of no concern. */
static int full_path(int folder, const char *name, char *path) {
    char base[PATH_MAX] = "", link[64];
    if (!control || inside || !name) return 0;
    if (*name != '/') {
        snprintf(link, sizeof link, folder == AT_FDCWD ? "/proc/self/cwd" : "/proc/self/fd/%d", folder);
        ssize_t size = readlink(link, base, sizeof base - 2);
        if (size < 0) return 0;
        strcpy(base + size, "/");
    }
    if (snprintf(path, PATH_MAX, "%s%s", base, name) >= PATH_MAX) abort();
    return is_below(path);
}

/* The path of an open file or folder; 0 if it is of no concern. */
static int open_path(int file, char *path, struct stat *state) {
    int kept = errno, is_ours = 0;
    char link[64];
    if (control && !inside && !fstat(file, state) && (S_ISREG(state->st_mode) || S_ISDIR(state->st_mode))) {
        snprintf(link, sizeof link, "/proc/self/fd/%d", file);
        ssize_t size = readlink(link, path, PATH_MAX - 1);
        if (size > 0) path[size] = 0, is_ours = is_below(path);
    }
    errno = kept;
    return is_ours;
}

static int hold(void) {
    if (!__atomic_load_n(&control->recording, __ATOMIC_SEQ_CST)) return 0;
    while (__atomic_exchange_n(&control->lock, 1, __ATOMIC_ACQUIRE)) sched_yield();
    return 1;
}

static void let_go(int held) {
    if (held) __atomic_store_n(&control->lock, 0, __ATOMIC_RELEASE);
}

static void record(int kind, int64_t at, int64_t size, uint64_t inode, const char *path, const char *other, const void *data,
                   size_t data_bytes) {
    if (!control->recording) return;
    int kept = errno;
    REAL(writev);
    struct event event = {kind, (uint32_t)getpid(), at, size, inode, (uint32_t)strlen(path), (uint32_t)strlen(other), data_bytes};
    struct iovec parts[] = {
        {&event, sizeof event}, {(void *)path, event.path_bytes}, {(void *)other, event.other_bytes}, {(void *)data, data_bytes}
    };
    ssize_t wanted = (ssize_t)(sizeof event + event.path_bytes + event.other_bytes + data_bytes);
    if (real(log_file, parts, 4) != wanted) abort();
    errno = kept;
}

/* Counts a call; what is to be done with it. */
static int fate(int kind) {
    __atomic_add_fetch(&control->counts[kind], 1, __ATOMIC_SEQ_CST);
    if (!control->action || !(control->kinds >> kind & 1)) return NOTHING;
    int64_t left = __atomic_sub_fetch(&control->countdown, 1, __ATOMIC_SEQ_CST);
    if (left > 0 || (left < 0 && !control->sticky)) return NOTHING;
    __atomic_add_fetch(&control->fired, 1, __ATOMIC_SEQ_CST);
    return (int)control->action;
}

__attribute__((noreturn)) static void die(void) {
    kill(control->group ? 0 : getpid(), SIGKILL);
    for (;;) pause();
}

static int fails(int kind) {
    switch (fate(kind)) {
    case NOTHING: return 0;
    case FAIL: errno = (int)control->error; return 1;
    default: die(); return 1;
    }
}

static ssize_t written(int file, const void *data, size_t size, off_t at, ssize_t (*put)(int, const void *, size_t, off_t)) {
    char path[PATH_MAX];
    struct stat state;
    if (!open_path(file, path, &state)) return put(file, data, size, at);
    switch (fate(WRITE)) {
    case KILL: die();
    case TEAR: put(file, data, size / 2, at); die();
    case FAIL: errno = (int)control->error; return -1;
    }
    int held = hold();
    ssize_t done = put(file, data, size, at);
    if (done > 0) {
        int kept = errno;
        off_t start = at < 0 ? lseek(file, 0, SEEK_CUR) - done : at;
        record(WRITE, start, done, state.st_ino, path, "", data, (size_t)done);
        errno = kept;
    }
    let_go(held);
    return done;
}

static ssize_t put_next(int file, const void *data, size_t size, off_t at) {
    REAL(write);
    (void)at;
    return real(file, data, size);
}

static ssize_t put_there(int file, const void *data, size_t size, off_t at) {
    REAL(pwrite64);
    return real(file, data, size, at);
}

ssize_t write(int file, const void *data, size_t size) { return written(file, data, size, -1, put_next); }
ssize_t pwrite(int file, const void *data, size_t size, off_t at) { return written(file, data, size, at, put_there); }
ssize_t pwrite64(int file, const void *data, size_t size, off64_t at) { return written(file, data, size, at, put_there); }

static int synced(int file, int (*sync)(int)) {
    static int64_t last;
    char path[PATH_MAX];
    struct stat state;
    if (!open_path(file, path, &state)) return sync(file);
    if (fails(SYNC)) return -1;
    int64_t number = (int64_t)getpid() << 32 | __atomic_add_fetch(&last, 1, __ATOMIC_SEQ_CST);
    record(SYNC, number, 0, state.st_ino, path, "", "", 0);  /* what came before is safe once it has ended */
    int failed = sync(file);
    if (!failed) record(SYNCED, number, 0, state.st_ino, path, "", "", 0);
    return failed;
}

static int sync_all(int file) { REAL(fsync); return real(file); }
static int sync_data(int file) { REAL(fdatasync); return real(file); }
int fsync(int file) { return synced(file, sync_all); }
int fdatasync(int file) { return synced(file, sync_data); }

static int cut(int file, off64_t size) {
    REAL(ftruncate64);
    char path[PATH_MAX];
    struct stat state;
    if (!open_path(file, path, &state)) return real(file, size);
    if (fails(TRUNCATE)) return -1;
    int held = hold(), failed = real(file, size);
    if (!failed) record(TRUNCATE, 0, size, state.st_ino, path, "", "", 0);
    let_go(held);
    return failed;
}

int ftruncate(int file, off_t size) { return cut(file, size); }
int ftruncate64(int file, off64_t size) { return cut(file, size); }

static int opened(int folder, const char *name, int flags, mode_t mode) {
    REAL(openat64);
    char path[PATH_MAX];
    struct stat state;
    if (!(flags & (O_CREAT | O_TRUNC)) || !full_path(folder, name, path)) return real(folder, name, flags, mode);
    if ((flags & O_TMPFILE) == O_TMPFILE) record(UNKNOWN, 0, 0, 0, path, "O_TMPFILE", "", 0);
    if (flags & O_CREAT && lstat(path, &state) && fails(CREATE)) return -1;
    int held = hold(), file = real(folder, name, flags, mode);
    if (file >= 0 && !fstat(file, &state) && S_ISREG(state.st_mode))
        record(CREATE, flags & O_TRUNC ? 1 : 0, 0, state.st_ino, path, "", "", 0);
    let_go(held);
    return file;
}

#define MODE(flags) mode_t mode = 0; if ((flags) & (O_CREAT | O_TMPFILE)) { \
    va_list rest; va_start(rest, flags); mode = va_arg(rest, mode_t); va_end(rest); }
int open(const char *name, int flags, ...) { MODE(flags) return opened(AT_FDCWD, name, flags, mode); }
int open64(const char *name, int flags, ...) { MODE(flags) return opened(AT_FDCWD, name, flags, mode); }
int openat(int folder, const char *name, int flags, ...) { MODE(flags) return opened(folder, name, flags, mode); }
int openat64(int folder, const char *name, int flags, ...) { MODE(flags) return opened(folder, name, flags, mode); }

int mkdirat(int folder, const char *name, mode_t mode) {
    REAL(mkdirat);
    char path[PATH_MAX];
    struct stat state;
    if (!full_path(folder, name, path)) return real(folder, name, mode);
    if (fails(MKDIR)) return -1;
    int held = hold(), failed = real(folder, name, mode);
    if (!failed && !stat(path, &state)) record(MKDIR, 0, 0, state.st_ino, path, "", "", 0);
    let_go(held);
    return failed;
}

int unlinkat(int folder, const char *name, int flags) {
    REAL(unlinkat);
    char path[PATH_MAX];
    int kind = flags & AT_REMOVEDIR ? RMDIR : UNLINK;
    if (!full_path(folder, name, path)) return real(folder, name, flags);
    if (fails(kind)) return -1;
    int held = hold(), failed = real(folder, name, flags);
    if (!failed) record(kind, 0, 0, 0, path, "", "", 0);
    let_go(held);
    return failed;
}

int renameat(int folder, const char *name, int other_folder, const char *other_name) {
    REAL(renameat);
    char path[PATH_MAX], other[PATH_MAX];
    if (!full_path(folder, name, path) || !full_path(other_folder, other_name, other))
        return real(folder, name, other_folder, other_name);
    if (fails(RENAME)) return -1;
    int held = hold(), failed = real(folder, name, other_folder, other_name);
    if (!failed) record(RENAME, 0, 0, 0, path, other, "", 0);
    let_go(held);
    return failed;
}

int linkat(int folder, const char *name, int other_folder, const char *other_name, int flags) {
    REAL(linkat);
    char path[PATH_MAX], other[PATH_MAX];
    if (!full_path(folder, name, path) || !full_path(other_folder, other_name, other))
        return real(folder, name, other_folder, other_name, flags);
    if (fails(LINK)) return -1;
    int held = hold(), failed = real(folder, name, other_folder, other_name, flags);
    if (!failed) record(LINK, 0, 0, 0, path, other, "", 0);
    let_go(held);
    return failed;
}

int mkdir(const char *name, mode_t mode) { return mkdirat(AT_FDCWD, name, mode); }
int rmdir(const char *name) { return unlinkat(AT_FDCWD, name, AT_REMOVEDIR); }
int unlink(const char *name) { return unlinkat(AT_FDCWD, name, 0); }
int rename(const char *name, const char *other) { return renameat(AT_FDCWD, name, AT_FDCWD, other); }
int link(const char *name, const char *other) { return linkat(AT_FDCWD, name, AT_FDCWD, other, 0); }

/* What nothing here does to files so far: were it to begin, the recording would be wrong, and says so. */
static void unknown(int file, const char *what) {
    char path[PATH_MAX];
    struct stat state;
    if (open_path(file, path, &state)) record(UNKNOWN, 0, 0, 0, path, what, "", 0);
}

ssize_t writev(int file, const struct iovec *parts, int count) {
    REAL(writev);
    unknown(file, "writev");
    return real(file, parts, count);
}
ssize_t pwritev64v2(int file, const struct iovec *parts, int count, off64_t at, int flags) {
    REAL(pwritev64v2);
    unknown(file, "pwritev");
    return real(file, parts, count, at, flags);
}
ssize_t sendfile64(int to, int from, off64_t *at, size_t size) {
    REAL(sendfile64);
    unknown(to, "sendfile");
    return real(to, from, at, size);
}
ssize_t copy_file_range(int from, off64_t *at, int to, off64_t *to_at, size_t size, unsigned flags) {
    REAL(copy_file_range);
    unknown(to, "copy_file_range");
    return real(from, at, to, to_at, size, flags);
}
int posix_fallocate64(int file, off64_t at, off64_t size) {
    REAL(posix_fallocate64);
    unknown(file, "fallocate");
    return real(file, at, size);
}
int truncate64(const char *name, off64_t size) {
    REAL(truncate64);
    char path[PATH_MAX];
    if (full_path(AT_FDCWD, name, path)) record(UNKNOWN, 0, 0, 0, path, "truncate", "", 0);
    return real(name, size);
}
int symlinkat(const char *to, int folder, const char *name) {
    REAL(symlinkat);
    char path[PATH_MAX];
    if (full_path(folder, name, path)) record(UNKNOWN, 0, 0, 0, path, "symlink", "", 0);
    return real(to, folder, name);
}
int symlink(const char *to, const char *name) { return symlinkat(to, AT_FDCWD, name); }
