/* A library for LD_PRELOAD that makes the k-th file operation below a folder fail, whoever calls it: Python, Rust, C++ or C.

   Counted are calls of the C library on paths that begin with the folder given to faults_arm(), and on descriptors opened there. The
   test process controls it through ctypes (tests/faults/injection.py). Nothing is counted while it is not armed. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#define MOST_FILES 4096
#define LOG_BYTES (8 << 20)

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char folder[1024], paths[MOST_FILES][512], trace[LOG_BYTES];
static long count, target, used;
static int armed, error_number, keeps_failing, short_write;

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

void faults_arm(const char *below, long which, int number, int from_then_on, int shortened) {
    pthread_mutex_lock(&lock);
    strncpy(folder, below, sizeof folder - 1);
    count = used = 0, trace[0] = 0;
    target = which, error_number = number, keeps_failing = from_then_on, short_write = shortened, armed = 1;
    pthread_mutex_unlock(&lock);
}
void faults_disarm(void) { armed = 0; }
long faults_count(void) { return count; }
const char *faults_trace(void) { return trace; }

static int below(const char *path) { return armed && path && strncmp(path, folder, strlen(folder)) == 0; }
static int known(int fd) { return armed && fd >= 0 && fd < MOST_FILES && paths[fd][0]; }

/* One operation: 1 if it must fail (errno set), 2 if it must be short, else 0. `grows`: it needs room on the disk. */
static int fails(const char *kind, const char *path, int grows) {
    int out = 0;
    pthread_mutex_lock(&lock);
    count++;
    int length = snprintf(trace + used, LOG_BYTES - used, "%s %s\n", kind, path);
    if (length > 0 && used + length < LOG_BYTES) used += length;
    if (target > 0 && (count == target || (keeps_failing && grows && count > target))) {
        out = short_write && strcmp(kind, "write") == 0 ? 2 : 1;
        if (error_number < 0) kill(getpid(), -error_number); /* a signal instead of an error */
        errno = error_number;
    }
    pthread_mutex_unlock(&lock);
    return out;
}

/* PyTorch's tensors: the k-th allocation fails. oneDNN's own small ones are not failed: it does not check them, and the process would crash. */
static long allocations, failing_allocation;
static int of_a_tensor(void *caller) {
    Dl_info found;
    return dladdr(caller, &found) && found.dli_fname && strstr(found.dli_fname, "libc10");
}
void faults_arm_memory(long which) { allocations = which ? 0 : allocations, failing_allocation = which; }
long faults_allocations(void) { return allocations; }
int posix_memalign(void **out, size_t alignment, size_t size) {
    if (failing_allocation && of_a_tensor(__builtin_return_address(0)) && ++allocations == failing_allocation) return ENOMEM;
    return REAL(posix_memalign)(out, alignment, size);
}

static int opened(int fd, const char *path) {
    if (fd >= 0 && fd < MOST_FILES) {
        if (below(path)) strncpy(paths[fd], path, sizeof paths[fd] - 1);
        else paths[fd][0] = 0;
    }
    return fd;
}
static int may_open(const char *path, int flags) {
    int writes = (flags & O_ACCMODE) != O_RDONLY || (flags & O_CREAT);
    return !(below(path) && !(flags & O_DIRECTORY) && fails(flags & O_CREAT ? "create" : writes ? "open-to-write" : "open", path, flags & O_CREAT));
}

#define MODE mode_t mode = 0; if (flags & (O_CREAT | O_TMPFILE)) { va_list rest; va_start(rest, flags); mode = va_arg(rest, mode_t); va_end(rest); }
int open(const char *path, int flags, ...) { MODE return may_open(path, flags) ? opened(REAL(open)(path, flags, mode), path) : -1; }
int open64(const char *path, int flags, ...) { MODE return may_open(path, flags) ? opened(REAL(open64)(path, flags, mode), path) : -1; }
int openat(int at, const char *path, int flags, ...) { MODE return may_open(path, flags) ? opened(REAL(openat)(at, path, flags, mode), path) : -1; }
int openat64(int at, const char *path, int flags, ...) { MODE return may_open(path, flags) ? opened(REAL(openat64)(at, path, flags, mode), path) : -1; }
static int mode_flags(const char *mode) { return mode[0] == 'r' ? O_RDONLY : O_WRONLY | O_CREAT; }
static FILE *named(FILE *file, const char *path) { if (file) opened(fileno(file), path); return file; }
FILE *fopen(const char *path, const char *mode) { return may_open(path, mode_flags(mode)) ? named(REAL(fopen)(path, mode), path) : NULL; }
FILE *fopen64(const char *path, const char *mode) { return may_open(path, mode_flags(mode)) ? named(REAL(fopen64)(path, mode), path) : NULL; }
int close(int fd) { if (fd >= 0 && fd < MOST_FILES) paths[fd][0] = 0; return REAL(close)(fd); }
FILE *fdopen(int fd, const char *mode) { /* numpy's tofile(), on a copy of a descriptor */
    char link[64], path[512] = "";
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    if (armed && readlink(link, path, sizeof path - 1) > 0) opened(fd, path);
    return REAL(fdopen)(fd, mode);
}

#define WRITE(name, ...) { \
    int fault = known(fd) ? fails("write", paths[fd], 1) : 0; \
    if (fault == 1) return -1; \
    if (fault == 2 && size > 1) size /= 2; \
    return REAL(name)(__VA_ARGS__); }
ssize_t write(int fd, const void *data, size_t size) WRITE(write, fd, data, size)
ssize_t pwrite(int fd, const void *data, size_t size, off_t at) WRITE(pwrite, fd, data, size, at)
ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) WRITE(pwrite64, fd, data, size, at)
ssize_t writev(int fd, const struct iovec *parts, int size) WRITE(writev, fd, parts, size)
size_t fwrite(const void *data, size_t each, size_t size, FILE *file) {
    int fd = fileno(file), fault = known(fd) ? fails("write", paths[fd], 1) : 0;
    if (fault) return fault == 1 ? 0 : REAL(fwrite)(data, each, size / 2, file);
    return REAL(fwrite)(data, each, size, file);
}
#define COPY(name, ...) { if (known(to) && fails("write", paths[to], 1) == 1) return -1; return REAL(name)(__VA_ARGS__); }
ssize_t sendfile(int to, int from, off_t *at, size_t size) COPY(sendfile, to, from, at, size)
ssize_t sendfile64(int to, int from, off64_t *at, size_t size) COPY(sendfile64, to, from, at, size)
ssize_t copy_file_range(int from, off64_t *in, int to, off64_t *out, size_t size, unsigned flags) COPY(copy_file_range, from, in, to, out, size, flags)
int ftruncate(int to, off_t size) COPY(ftruncate, to, size)
int ftruncate64(int to, off64_t size) COPY(ftruncate64, to, size)

#define ON_FILE(kind, name, failed, ...) { if (known(fd) && fails(kind, paths[fd], 0)) return failed; return REAL(name)(__VA_ARGS__); }
ssize_t read(int fd, void *data, size_t size) ON_FILE("read", read, -1, fd, data, size)
ssize_t pread(int fd, void *data, size_t size, off_t at) ON_FILE("read", pread, -1, fd, data, size, at)
ssize_t pread64(int fd, void *data, size_t size, off64_t at) ON_FILE("read", pread64, -1, fd, data, size, at)
ssize_t readv(int fd, const struct iovec *parts, int size) ON_FILE("read", readv, -1, fd, parts, size)
size_t fread(void *data, size_t each, size_t size, FILE *file) { int fd = fileno(file); ON_FILE("read", fread, 0, data, each, size, file) }
void *mmap(void *near, size_t size, int protect, int flags, int fd, off_t at) ON_FILE("mmap", mmap, MAP_FAILED, near, size, protect, flags, fd, at)
void *mmap64(void *near, size_t size, int protect, int flags, int fd, off64_t at) ON_FILE("mmap", mmap64, MAP_FAILED, near, size, protect, flags, fd, at)
int fsync(int fd) {
    char path[600] = "";
    if (armed && fd >= 0 && fd < MOST_FILES) strncpy(path, paths[fd], sizeof path - 1);
    if (path[0] && fails("fsync", path, 0)) return -1;
    return REAL(fsync)(fd);
}

#define ON_PATH(kind, name, grows, ...) { if (below(path) && fails(kind, path, grows)) return -1; return REAL(name)(__VA_ARGS__); }
int mkdir(const char *path, mode_t mode) ON_PATH("mkdir", mkdir, 1, path, mode)
int rename(const char *from, const char *path) ON_PATH("rename", rename, 0, from, path)
int renameat(int at, const char *from, int to, const char *path) ON_PATH("rename", renameat, 0, at, from, to, path)
int unlink(const char *path) ON_PATH("unlink", unlink, 0, path)
int rmdir(const char *path) ON_PATH("rmdir", rmdir, 0, path)
int chmod(const char *path, mode_t mode) ON_PATH("chmod", chmod, 0, path, mode)
