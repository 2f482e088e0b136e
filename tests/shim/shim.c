/* Watches what a process does to the files below a folder and what it sends to its clients, and
 * makes its disk slow, full or faulty on demand. Loaded with LD_PRELOAD.
 *
 * Functions of the C library are not replaced: code that makes system calls by itself would go
 * unseen. The kernel is asked (seccomp) to turn the calls of interest into a signal instead,
 * whoever makes them, unless they come from the one place below that this file uses itself.
 *
 *   SHIM_ROOT     the folder, absolute and without symbolic links
 *   SHIM_LOG      file that events are appended to
 *   SHIM_CONTROL  file of four 32-bit numbers that may change at any time:
 *                 microseconds by which each fsync is delayed; whether the disk is full;
 *                 whether fsync fails with EIO; whether writes fail with EIO
 *
 * An event is a header and a payload; tests/src/disk.rs reads them. Changes are made and logged
 * under one lock, so their order in the log is the order in which they took effect. A sync is
 * logged when it begins and when it has returned, what goes to a socket before it is sent.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

enum kind {
    CREATE = 1, LENGTH, WRITE, MKDIR, RENAME, UNLINK, RMDIR, SYNC_BEGIN, SYNC_END, SEND, UNKNOWN
};

struct header {
    uint32_t size;      /* of header and payload */
    uint32_t kind;
    uint32_t thread;
    int32_t result;
    uint64_t nanoseconds;
    uint64_t inode;
    uint64_t offset;
};

struct control { _Atomic uint32_t delay_us, full, sync_fails, write_fails; };

#define MOST_PIECES 64
#define PATH_BYTES 4096

/* The only system call instruction that is let through. */
long shim_call(long number, long a, long b, long c, long d, long e, long f);
extern char shim_called[];
#if defined(__x86_64__)
#define ARCH AUDIT_ARCH_X86_64
#define REGISTER(context, name) ((context)->uc_mcontext.gregs[name])
#define NUMBER(context) REGISTER(context, REG_RAX)
#define RESULT(context) REGISTER(context, REG_RAX)
#define ARGUMENTS(context) { REGISTER(context, REG_RDI), REGISTER(context, REG_RSI), \
    REGISTER(context, REG_RDX), REGISTER(context, REG_R10), REGISTER(context, REG_R8), \
    REGISTER(context, REG_R9) }
__asm__(
    ".text\n.globl shim_call\n.hidden shim_call\n.type shim_call,@function\n"
    "shim_call:\n mov %rdi,%rax\n mov %rsi,%rdi\n mov %rdx,%rsi\n mov %rcx,%rdx\n"
    " mov %r8,%r10\n mov %r9,%r8\n mov 8(%rsp),%r9\n syscall\n"
    ".globl shim_called\n.hidden shim_called\nshim_called:\n ret\n");
#elif defined(__aarch64__)
#define ARCH AUDIT_ARCH_AARCH64
#define NUMBER(context) ((context)->uc_mcontext.regs[8])
#define RESULT(context) ((context)->uc_mcontext.regs[0])
#define ARGUMENTS(context) { (long)(context)->uc_mcontext.regs[0], \
    (long)(context)->uc_mcontext.regs[1], (long)(context)->uc_mcontext.regs[2], \
    (long)(context)->uc_mcontext.regs[3], (long)(context)->uc_mcontext.regs[4], \
    (long)(context)->uc_mcontext.regs[5] }
__asm__(
    ".text\n.globl shim_call\n.hidden shim_call\n.type shim_call,%function\n"
    "shim_call:\n mov x8,x0\n mov x0,x1\n mov x1,x2\n mov x2,x3\n mov x3,x4\n mov x4,x5\n"
    " mov x5,x6\n svc #0\n"
    ".globl shim_called\n.hidden shim_called\nshim_called:\n ret\n");
#else
#error "the shim knows x86_64 and aarch64"
#endif

static char root[PATH_BYTES];
static size_t root_length;
static dev_t device;
static int log_file = -1;
static struct control *control;
static atomic_flag busy = ATOMIC_FLAG_INIT;

/* Inodes below the folder that were seen. None is ever taken out: one that is used again by a file
 * elsewhere leads to events that nobody looks at. */
#define INODES (1u << 17)
static _Atomic uint64_t inodes[INODES];

static long call3(long number, long a, long b, long c) {
    return shim_call(number, a, b, c, 0, 0, 0);
}

static void lock(void) {
    while (atomic_flag_test_and_set_explicit(&busy, memory_order_acquire))
        call3(SYS_sched_yield, 0, 0, 0);
}

static void unlock(void) { atomic_flag_clear_explicit(&busy, memory_order_release); }

static void give_up(const char *why) {
    call3(SYS_write, 2, (long)why, (long)strlen(why));
    call3(SYS_exit_group, 99, 0, 0);
}

static void track(uint64_t inode) {
    for (uint32_t at = (uint32_t)(inode * 2654435761u) % INODES, tries = 0; tries < INODES;
         at = (at + 1) % INODES, tries++) {
        uint64_t found = 0;
        if (atomic_compare_exchange_strong(&inodes[at], &found, inode) || found == inode) return;
    }
    give_up("shim: too many files\n");
}

static int is_tracked(uint64_t inode) {
    for (uint32_t at = (uint32_t)(inode * 2654435761u) % INODES;; at = (at + 1) % INODES) {
        uint64_t found = atomic_load(&inodes[at]);
        if (found == inode) return 1;
        if (found == 0) return 0;
    }
}

static int is_below(const char *path) {
    return strncmp(path, root, root_length) == 0 &&
           (path[root_length] == '/' || path[root_length] == 0);
}

/* The absolute path, or an empty one. */
static void resolve(int folder, const char *path, char *out) {
    out[0] = 0;
    if (path == NULL) return;
    size_t used = 0;
    if (path[0] != '/') {
        long length;
        if (folder == AT_FDCWD) {
            length = call3(SYS_getcwd, (long)out, PATH_BYTES / 2, 0);
            length = length > 0 ? length - 1 : length;
        } else {
            char link[40] = "/proc/self/fd/", digits[12];
            int count = 0, number = folder;
            do digits[count++] = (char)('0' + number % 10); while ((number /= 10) > 0);
            char *end = link + strlen(link);
            while (count > 0) *end++ = digits[--count];
            *end = 0;
            length = shim_call(SYS_readlinkat, AT_FDCWD, (long)link, (long)out, PATH_BYTES / 2, 0, 0);
        }
        if (length <= 0) { out[0] = 0; return; }
        used = (size_t)length;
        out[used++] = '/';
    }
    size_t length = strlen(path);
    if (used + length >= PATH_BYTES) { out[0] = 0; return; }
    memcpy(out + used, path, length + 1);
}

static int look(int file, struct stat *found) {
#ifdef SYS_newfstatat
    return (int)shim_call(SYS_newfstatat, file, (long)"", (long)found, AT_EMPTY_PATH, 0, 0);
#else
    return (int)call3(SYS_fstat, file, (long)found, 0);
#endif
}

static int look_at(const char *path, struct stat *found) {
    return (int)shim_call(SYS_newfstatat, AT_FDCWD, (long)path, (long)found, AT_SYMLINK_NOFOLLOW, 0, 0);
}

/* Appends an event; `bytes` of the pieces are its payload. The lock is held. */
static void note_pieces(enum kind kind, int result, uint64_t inode, uint64_t offset,
                        const struct iovec *pieces, int count, size_t bytes) {
    struct timespec now = { 0, 0 };
    call3(SYS_clock_gettime, CLOCK_MONOTONIC, (long)&now, 0);
    struct header header = {
        .size = (uint32_t)(sizeof header + bytes), .kind = kind,
        .thread = (uint32_t)call3(SYS_gettid, 0, 0, 0), .result = result,
        .nanoseconds = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec,
        .inode = inode, .offset = offset,
    };
    struct iovec all[MOST_PIECES + 1] = { { &header, sizeof header } };
    int used = 1;
    size_t left = bytes;
    for (int i = 0; i < count && left > 0; i++) {
        if (used > MOST_PIECES) give_up("shim: too many pieces\n");
        size_t length = pieces[i].iov_len < left ? pieces[i].iov_len : left;
        all[used++] = (struct iovec){ pieces[i].iov_base, length };
        left -= length;
    }
    if (call3(SYS_writev, log_file, (long)all, used) != (long)header.size)
        give_up("shim: the log cannot be written\n");
}

static void note(enum kind kind, int result, uint64_t inode, uint64_t offset, const void *payload,
                 size_t bytes) {
    struct iovec piece = { (void *)payload, bytes };
    note_pieces(kind, result, inode, offset, &piece, 1, bytes);
}

static void note_path(enum kind kind, uint64_t inode, const char *path) {
    note(kind, 0, inode, 0, path, strlen(path));
}

static long open_file(int folder, const char *path, long flags, long mode) {
    char full[PATH_BYTES];
    resolve(folder, path, full);
    if (!is_below(full)) return shim_call(SYS_openat, folder, (long)path, flags, mode, 0, 0);
    struct stat found;
    if ((flags & O_TMPFILE) == O_TMPFILE) {
        lock();
        note_path(UNKNOWN, 0, "O_TMPFILE");
        unlock();
    }
    if (!(flags & (O_CREAT | O_TRUNC))) {
        long file = shim_call(SYS_openat, folder, (long)path, flags, mode, 0, 0);
        if (file >= 0 && look((int)file, &found) == 0) track(found.st_ino);
        return file;
    }
    lock();
    int existed = look_at(full, &found) == 0;
    if (!existed && atomic_load(&control->full)) {
        unlock();
        return -ENOSPC;
    }
    long file = shim_call(SYS_openat, folder, (long)path, flags, mode, 0, 0);
    if (file >= 0 && look((int)file, &found) == 0) {
        track(found.st_ino);
        if (!existed) note_path(CREATE, found.st_ino, full);
        else if (flags & O_TRUNC) note(LENGTH, 0, found.st_ino, 0, "", 0);
    }
    unlock();
    return file;
}

/* A write of any form: `number` and `a` are the call, the pieces what it writes. */
static long write_pieces(long number, const long *a, const struct iovec *pieces, int count,
                         int64_t offset) {
    struct stat found;
    int file = (int)a[0];
    if (look(file, &found) != 0) goto plain;
    if (S_ISSOCK(found.st_mode)) {
        size_t bytes = 0;
        for (int i = 0; i < count && i < MOST_PIECES; i++) bytes += pieces[i].iov_len;
        lock();
        note_pieces(SEND, 0, (uint64_t)file, 0, pieces, count, bytes);
        unlock();
        goto plain;
    }
    if (!S_ISREG(found.st_mode) || found.st_dev != device || !is_tracked(found.st_ino)) goto plain;
    lock();
    long written;
    if (atomic_load(&control->full)) written = -ENOSPC;
    else if (atomic_load(&control->write_fails)) written = -EIO;
    else written = shim_call(number, a[0], a[1], a[2], a[3], a[4], a[5]);
    if (written > 0) {
        if (offset < 0) offset = call3(SYS_lseek, file, 0, SEEK_CUR) - written;
        note_pieces(WRITE, 0, found.st_ino, (uint64_t)offset, pieces, count, (size_t)written);
    }
    unlock();
    return written;
plain:
    return shim_call(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

static long set_length(long number, const long *a, int file, uint64_t length) {
    struct stat found;
    if (look(file, &found) != 0 || found.st_dev != device || !is_tracked(found.st_ino))
        return shim_call(number, a[0], a[1], a[2], a[3], a[4], a[5]);
    lock();
    long result = -ENOSPC;
    if (length <= (uint64_t)found.st_size || !atomic_load(&control->full))
        result = shim_call(number, a[0], a[1], a[2], a[3], a[4], a[5]);
    if (result == 0) note(LENGTH, 0, found.st_ino, length, "", 0);
    unlock();
    return result;
}

static long make_folder(int folder, const char *path, long mode) {
    char full[PATH_BYTES];
    struct stat found;
    resolve(folder, path, full);
    if (!is_below(full)) return call3(SYS_mkdirat, folder, (long)path, mode);
    lock();
    long result = -ENOSPC;
    if (!atomic_load(&control->full)) result = call3(SYS_mkdirat, folder, (long)path, mode);
    if (result == 0 && look_at(full, &found) == 0) {
        track(found.st_ino);
        note_path(MKDIR, found.st_ino, full);
    }
    unlock();
    return result;
}

static long remove_name(int folder, const char *path, long flags) {
    char full[PATH_BYTES];
    resolve(folder, path, full);
    if (!is_below(full)) return call3(SYS_unlinkat, folder, (long)path, flags);
    lock();
    long result = call3(SYS_unlinkat, folder, (long)path, flags);
    if (result == 0) note_path(flags & AT_REMOVEDIR ? RMDIR : UNLINK, 0, full);
    unlock();
    return result;
}

static long rename_name(int from, const char *old, int to, const char *new, long flags) {
    char both[2 * PATH_BYTES], target[PATH_BYTES];
    resolve(from, old, both);
    resolve(to, new, target);
    if (!is_below(both) && !is_below(target))
        return shim_call(SYS_renameat2, from, (long)old, to, (long)new, flags, 0);
    size_t length = strlen(both);
    memcpy(both + length + 1, target, strlen(target) + 1);
    lock();
    long result = shim_call(SYS_renameat2, from, (long)old, to, (long)new, flags, 0);
    if (result == 0) {
        if (flags & 2 /* exchange */) note_path(UNKNOWN, 0, "rename that exchanges");
        else note(RENAME, 0, 0, 0, both, length + 1 + strlen(target));
    }
    unlock();
    return result;
}

static long sync_file(long number, const long *a) {
    struct stat found;
    int file = (int)a[0];
    if (look(file, &found) != 0 || found.st_dev != device || !is_tracked(found.st_ino))
        return shim_call(number, a[0], a[1], a[2], a[3], a[4], a[5]);
    lock();
    note(SYNC_BEGIN, 0, found.st_ino, number == SYS_fdatasync, "", 0);
    unlock();
    uint32_t delay = atomic_load(&control->delay_us);
    if (delay > 0) {
        struct timespec time = { delay / 1000000, (long)(delay % 1000000) * 1000 };
        call3(SYS_nanosleep, (long)&time, 0, 0);
    }
    long result = -EIO;
    if (!atomic_load(&control->sync_fails))
        result = shim_call(number, a[0], a[1], a[2], a[3], a[4], a[5]);
    lock();
    note(SYNC_END, (int)result, found.st_ino, number == SYS_fdatasync, "", 0);
    unlock();
    return result;
}

/* A way to change a file that is not modelled: noted, so that whoever reads the log can object. */
static long unknown(long number, const long *a, int file, const char *name) {
    struct stat found;
    if (look(file, &found) == 0 && S_ISREG(found.st_mode) && is_tracked(found.st_ino)) {
        lock();
        note_path(UNKNOWN, found.st_ino, name);
        unlock();
    }
    return shim_call(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

static long unknown_path(long number, const long *a, int folder, const char *path,
                         const char *name) {
    char full[PATH_BYTES];
    resolve(folder, path, full);
    if (is_below(full)) {
        lock();
        note_path(UNKNOWN, 0, name);
        unlock();
    }
    return shim_call(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

static long carry_out(long number, const long *a) {
    switch (number) {
#ifdef SYS_open
    case SYS_open: return open_file(AT_FDCWD, (const char *)a[0], a[1], a[2]);
    case SYS_creat:
        return open_file(AT_FDCWD, (const char *)a[0], O_CREAT | O_WRONLY | O_TRUNC, a[1]);
    case SYS_mkdir: return make_folder(AT_FDCWD, (const char *)a[0], a[1]);
    case SYS_unlink: return remove_name(AT_FDCWD, (const char *)a[0], 0);
    case SYS_rmdir: return remove_name(AT_FDCWD, (const char *)a[0], AT_REMOVEDIR);
    case SYS_rename:
        return rename_name(AT_FDCWD, (const char *)a[0], AT_FDCWD, (const char *)a[1], 0);
    case SYS_link: return unknown_path(number, a, AT_FDCWD, (const char *)a[1], "link");
    case SYS_symlink: return unknown_path(number, a, AT_FDCWD, (const char *)a[1], "symlink");
#endif
#ifdef SYS_renameat
    case SYS_renameat:
        return rename_name((int)a[0], (const char *)a[1], (int)a[2], (const char *)a[3], 0);
#endif
    case SYS_openat: return open_file((int)a[0], (const char *)a[1], a[2], a[3]);
    case SYS_openat2: return unknown_path(number, a, (int)a[0], (const char *)a[1], "openat2");
    case SYS_mkdirat: return make_folder((int)a[0], (const char *)a[1], a[2]);
    case SYS_unlinkat: return remove_name((int)a[0], (const char *)a[1], a[2]);
    case SYS_renameat2:
        return rename_name((int)a[0], (const char *)a[1], (int)a[2], (const char *)a[3], a[4]);
    case SYS_linkat: return unknown_path(number, a, (int)a[2], (const char *)a[3], "linkat");
    case SYS_symlinkat: return unknown_path(number, a, (int)a[1], (const char *)a[2], "symlinkat");
    case SYS_write:
    case SYS_sendto: {
        struct iovec piece = { (void *)a[1], (size_t)a[2] };
        return write_pieces(number, a, &piece, 1, -1);
    }
    case SYS_pwrite64: {
        struct iovec piece = { (void *)a[1], (size_t)a[2] };
        return write_pieces(number, a, &piece, 1, a[3]);
    }
    case SYS_writev: return write_pieces(number, a, (const struct iovec *)a[1], (int)a[2], -1);
    case SYS_pwritev:
    case SYS_pwritev2:
        return write_pieces(number, a, (const struct iovec *)a[1], (int)a[2], a[3]);
    case SYS_sendmsg: {
        const struct msghdr *message = (const struct msghdr *)a[1];
        return write_pieces(number, a, message->msg_iov, (int)message->msg_iovlen, -1);
    }
    case SYS_ftruncate: return set_length(number, a, (int)a[0], (uint64_t)a[1]);
    case SYS_truncate: return unknown_path(number, a, AT_FDCWD, (const char *)a[0], "truncate");
    case SYS_fallocate:
        if (a[1] != 0) return unknown(number, a, (int)a[0], "fallocate with a mode");
        {
            struct stat found;
            uint64_t end = (uint64_t)a[2] + (uint64_t)a[3];
            if (look((int)a[0], &found) == 0 && (uint64_t)found.st_size > end)
                end = (uint64_t)found.st_size;
            return set_length(number, a, (int)a[0], end);
        }
    case SYS_fsync:
    case SYS_fdatasync: return sync_file(number, a);
    case SYS_copy_file_range: return unknown(number, a, (int)a[2], "copy_file_range");
    case SYS_splice: return unknown(number, a, (int)a[2], "splice");
    case SYS_sendfile: return unknown(number, a, (int)a[0], "sendfile");
    case SYS_mmap: return unknown(number, a, (int)a[4], "mmap that writes");
    default: return shim_call(number, a[0], a[1], a[2], a[3], a[4], a[5]);
    }
}

static void on_call(int number, siginfo_t *info, void *opaque) {
    (void)number;
    (void)info;
    ucontext_t *context = opaque;
    long arguments[6] = ARGUMENTS(context);
    RESULT(context) = carry_out((long)NUMBER(context), arguments);
}

static const int watched[] = {
#ifdef SYS_open
    SYS_open, SYS_creat, SYS_mkdir, SYS_unlink, SYS_rmdir, SYS_rename, SYS_link, SYS_symlink,
#endif
#ifdef SYS_renameat
    SYS_renameat,
#endif
    SYS_openat, SYS_openat2, SYS_mkdirat, SYS_unlinkat, SYS_renameat2, SYS_linkat, SYS_symlinkat,
    SYS_write, SYS_sendto, SYS_pwrite64, SYS_writev, SYS_pwritev, SYS_pwritev2, SYS_sendmsg,
    SYS_ftruncate, SYS_truncate, SYS_fallocate, SYS_fsync, SYS_fdatasync, SYS_copy_file_range,
    SYS_splice, SYS_sendfile,
};
#define WATCHED (sizeof watched / sizeof *watched)

static void watch(void) {
    uint64_t here = (uint64_t)(uintptr_t)shim_called;
    struct sock_filter filter[16 + 2 * WATCHED + 16];
    size_t used = 0;
#define LOAD(field) \
    (filter[used++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, field))
#define JUMP(kind, value, yes, no) \
    (filter[used++] = (struct sock_filter)BPF_JUMP(BPF_JMP | kind | BPF_K, value, yes, no))
#define ANSWER(value) (filter[used++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, value))
    size_t low = offsetof(struct seccomp_data, instruction_pointer), high = low + 4;
    LOAD(offsetof(struct seccomp_data, arch));
    JUMP(BPF_JEQ, ARCH, 1, 0);
    ANSWER(SECCOMP_RET_ALLOW);
    LOAD(low);
    JUMP(BPF_JEQ, (uint32_t)here, 0, 3);
    LOAD(high);
    JUMP(BPF_JEQ, (uint32_t)(here >> 32), 0, 1);
    ANSWER(SECCOMP_RET_ALLOW);
    LOAD(offsetof(struct seccomp_data, nr));
    for (size_t i = 0; i < WATCHED; i++) {
        JUMP(BPF_JEQ, (uint32_t)watched[i], 0, 1);
        ANSWER(SECCOMP_RET_TRAP);
    }
    JUMP(BPF_JEQ, SYS_mmap, 1, 0);
    ANSWER(SECCOMP_RET_ALLOW);
    LOAD(offsetof(struct seccomp_data, args) + 2 * 8);
    JUMP(BPF_JSET, PROT_WRITE, 1, 0);
    ANSWER(SECCOMP_RET_ALLOW);
    LOAD(offsetof(struct seccomp_data, args) + 3 * 8);
    JUMP(BPF_JSET, MAP_ANONYMOUS, 1, 0);
    JUMP(BPF_JSET, MAP_SHARED, 1, 0);
    ANSWER(SECCOMP_RET_ALLOW);
    ANSWER(SECCOMP_RET_TRAP);
    struct sock_fprog program = { (unsigned short)used, filter };
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = on_call;
    // A handler that is run within this one would meet the kernel with SIGSYS blocked, and its first
    // call of interest would end the process.
    sigfillset(&action.sa_mask);
    action.sa_flags = SA_SIGINFO | SA_RESTART;
    if (sigaction(SIGSYS, &action, NULL) != 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
        give_up("shim: the kernel does not allow to watch system calls\n");
}

__attribute__((constructor)) static void begin(void) {
    const char *folder = getenv("SHIM_ROOT"), *log = getenv("SHIM_LOG"),
               *file = getenv("SHIM_CONTROL");
    if (folder == NULL || log == NULL || file == NULL) return;
    struct stat found;
    if (strlen(folder) >= sizeof root || stat(folder, &found) != 0)
        give_up("shim: SHIM_ROOT is not a folder\n");
    strcpy(root, folder);
    root_length = strlen(root);
    device = found.st_dev;
    track(found.st_ino);
    log_file = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    int page = open(file, O_RDWR | O_CLOEXEC);
    if (log_file < 0 || page < 0) give_up("shim: SHIM_LOG or SHIM_CONTROL cannot be opened\n");
    control = mmap(NULL, sizeof *control, PROT_READ, MAP_SHARED, page, 0);
    if (control == MAP_FAILED) give_up("shim: SHIM_CONTROL cannot be mapped\n");
    watch();
}
