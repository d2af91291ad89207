/* A web server in one process a connection: enough to see that a workspace runs, and through what.
 *
 *   /          a page that says who and where you are      /headers   the request, as it arrived
 *   /upload    answers the number of bytes in the body      /stream    ten lines, one each 100 ms
 *   /ws        echoes websocket messages                    others     files beside the page
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

enum { PORT = 8080, HEAD_MAX = 64 * 1024, CHUNK = 64 * 1024, REQUEST_SECONDS = 30, WEBSOCKET_SECONDS = 3600 };

static int peer;                      /* the connection that this process serves */
static char head[HEAD_MAX + 1];       /* request line and headers */
static char spare[HEAD_MAX];          /* what came after them in the same packets */
static size_t spare_at, spare_end;
static char method[16], path[1024];

static void set_patience(time_t seconds) {
    struct timeval idle = {seconds, 0};
    setsockopt(peer, SOL_SOCKET, SO_RCVTIMEO, &idle, sizeof idle);
    setsockopt(peer, SOL_SOCKET, SO_SNDTIMEO, &idle, sizeof idle);
}

/* End the connection. Closing it with bytes unread would reset it, and the answer might never be seen. */
static void leave(int code) {
    shutdown(peer, SHUT_WR);
    set_patience(1);
    while (read(peer, spare, sizeof spare) > 0) {}
    _exit(code);
}

static void put(const void *data, size_t size) {
    const char *from = data;
    while (size > 0) {
        ssize_t sent = write(peer, from, size);
        if (sent < 0 && errno == EINTR) continue;
        if (sent <= 0) _exit(1);
        from += sent;
        size -= (size_t)sent;
    }
}

static void say(const char *format, ...) {
    char line[2048];
    va_list values;
    va_start(values, format);
    int size = vsnprintf(line, sizeof line, format, values);
    va_end(values);
    if (size > 0) put(line, (size_t)size < sizeof line ? (size_t)size : sizeof line - 1);
}

/* Read at most `size` bytes; 0 at the end of the stream. */
static size_t take(void *into, size_t size) {
    if (spare_at < spare_end) {
        size_t ready = spare_end - spare_at;
        if (size > ready) size = ready;
        memcpy(into, spare + spare_at, size);
        spare_at += size;
        return size;
    }
    for (;;) {
        ssize_t got = read(peer, into, size);
        if (got < 0 && errno == EINTR) continue;
        return got > 0 ? (size_t)got : 0;
    }
}

static void take_all(void *into, size_t size) {
    for (char *to = into; size > 0;) {
        size_t got = take(to, size);
        if (got == 0) _exit(1);
        to += got;
        size -= got;
    }
}

static void start_answer(const char *status, const char *type) {
    say("HTTP/1.1 %s\r\nContent-Type: %s\r\nCache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n"
        "Connection: close\r\n\r\n", status, type);
    if (strcmp(method, "HEAD") == 0) leave(0);
}

static void refuse(const char *status) {
    start_answer(status, "text/plain; charset=utf-8");
    say("%s\n", status);
    leave(0);
}

/* Copy a header's value, or an empty string. */
static void header(const char *name, char *into, size_t size) {
    size_t length = strlen(name);
    into[0] = 0;
    for (char *line = strstr(head, "\r\n"); line != NULL; line = strstr(line, "\r\n")) {
        line += 2;
        if (strncasecmp(line, name, length) != 0 || line[length] != ':') continue;
        char *value = line + length + 1;
        while (*value == ' ' || *value == '\t') value++;
        snprintf(into, size, "%.*s", (int)strcspn(value, "\r\n"), value);
        return;
    }
}

static void read_head(void) {
    size_t used = 0;
    char *end = NULL;
    while (end == NULL) {
        if (used == HEAD_MAX) refuse("431 Request Header Fields Too Large");
        size_t got = take(head + used, HEAD_MAX - used);
        if (got == 0) _exit(0);
        used += got;
        head[used] = 0;
        end = strstr(head, "\r\n\r\n");
    }
    end += 4;
    spare_end = used - (size_t)(end - head);
    memcpy(spare, end, spare_end);
    *end = 0;
    if (sscanf(head, "%15s %1023s", method, path) != 2 || path[0] != '/') refuse("400 Bad Request");
    path[strcspn(path, "?#")] = 0;
}

/* ---- the page ---- */

static void put_escaped(const char *text) {
    for (; *text; text++) {
        switch (*text) {
            case '&': say("&amp;"); break;
            case '<': say("&lt;"); break;
            case '>': say("&gt;"); break;
            case '"': say("&quot;"); break;
            default: put(text, 1);
        }
    }
}

static void put_value(const char *name) {
    char value[1024] = "";
    if (strcmp(name, "user") == 0) {
        header("X-Spawner-User", value, sizeof value);
    } else if (strcmp(name, "hostname") == 0) {
        gethostname(value, sizeof value - 1);
    } else {
        const char *found = getenv(name);
        snprintf(value, sizeof value, "%s", found ? found : "");
    }
    put_escaped(value[0] ? value : "–");
}

/* Whether the first language of ours that the browser names is German. */
static int german(void) {
    char languages[512];
    header("Accept-Language", languages, sizeof languages);
    for (char *rest = languages, *one; (one = strsep(&rest, ",")) != NULL;) {
        one += strspn(one, " ");
        if (strncasecmp(one, "de", 2) == 0) return 1;
        if (strncasecmp(one, "en", 2) == 0) return 0;
    }
    return 0;
}

static size_t load(const char *name, char *into, size_t size) {
    int file = open(name, O_RDONLY);
    size_t used = 0;
    for (ssize_t got; file >= 0 && (got = read(file, into + used, size - used)) > 0;) used += (size_t)got;
    if (file >= 0) close(file);
    return used;
}

static void page(void) {
    static char text[64 * 1024];
    size_t size = load(german() ? "page.de.html" : "page.en.html", text, sizeof text - 1);
    text[size] = 0;
    start_answer("200 OK", "text/html; charset=utf-8");
    char *at = text;
    for (char *open; (open = strstr(at, "{{")) != NULL;) {
        char *close = strstr(open, "}}");
        if (close == NULL) break;
        put(at, (size_t)(open - at));
        *close = 0;
        put_value(open + 2);
        at = close + 2;
    }
    put(at, strlen(at));
}

static void file(void) {
    static const struct { const char *path, *type; } files[] = {
        {"/style.css", "text/css; charset=utf-8"},
        {"/echo.js", "text/javascript; charset=utf-8"},
    };
    static char data[64 * 1024];
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        if (strcmp(path, files[i].path) != 0) continue;
        size_t size = load(path + 1, data, sizeof data);
        start_answer("200 OK", files[i].type);
        put(data, size);
        return;
    }
    refuse("404 Not Found");
}

/* ---- bodies ---- */

static uint64_t discard(uint64_t size) {
    static char sink[CHUNK];
    uint64_t left = size;
    while (left > 0) {
        size_t got = take(sink, left < CHUNK ? (size_t)left : CHUNK);
        if (got == 0) _exit(1);
        left -= got;
    }
    return size;
}

static void take_line(char *into, size_t size) {
    size_t used = 0;
    for (char byte; take_all(&byte, 1), byte != '\n';)
        if (used + 1 < size) into[used++] = byte;
    into[used] = 0;
}

static void upload(void) {
    char value[64], line[64];
    uint64_t total = 0, size;
    header("Expect", value, sizeof value);
    if (strcasecmp(value, "100-continue") == 0) say("HTTP/1.1 100 Continue\r\n\r\n");
    header("Transfer-Encoding", value, sizeof value);
    if (strcasecmp(value, "chunked") == 0) {
        while (take_line(line, sizeof line), (size = strtoull(line, NULL, 16)) > 0) {
            total += discard(size);
            take_line(line, sizeof line);
        }
    } else {
        header("Content-Length", value, sizeof value);
        total = discard(strtoull(value, NULL, 10));
    }
    start_answer("200 OK", "text/plain; charset=utf-8");
    say("%llu\n", (unsigned long long)total);
}

static void stream(void) {
    start_answer("200 OK", "text/plain; charset=utf-8");
    for (int i = 1; i <= 10; i++) {
        say("line %d\n", i);
        nanosleep(&(struct timespec){0, 100 * 1000 * 1000}, NULL);
    }
}

/* ---- websocket (RFC 6455) ---- */

static uint32_t turn(uint32_t word, int bits) { return word << bits | word >> (32 - bits); }

/* SHA-1 of a text shorter than 120 bytes, which is all a handshake needs. */
static void sha1(const char *text, uint8_t digest[20]) {
    uint32_t state[5] = {0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476, 0xC3D2E1F0};
    uint8_t data[128] = {0};
    size_t size = strlen(text), padded = size < 56 ? 64 : 128;
    memcpy(data, text, size);
    data[size] = 0x80;
    data[padded - 2] = (uint8_t)(size * 8 >> 8);
    data[padded - 1] = (uint8_t)(size * 8);
    for (size_t block = 0; block < padded; block += 64) {
        uint32_t words[80], a = state[0], b = state[1], c = state[2], d = state[3], e = state[4];
        for (int i = 0; i < 16; i++) {
            const uint8_t *from = data + block + i * 4;
            words[i] = (uint32_t)from[0] << 24 | (uint32_t)from[1] << 16 | (uint32_t)from[2] << 8 | from[3];
        }
        for (int i = 16; i < 80; i++) words[i] = turn(words[i - 3] ^ words[i - 8] ^ words[i - 14] ^ words[i - 16], 1);
        for (int i = 0; i < 80; i++) {
            uint32_t mix = i < 20 ? ((b & c) | (~b & d)) + 0x5A827999
                         : i < 40 ? (b ^ c ^ d) + 0x6ED9EBA1
                         : i < 60 ? ((b & c) | (b & d) | (c & d)) + 0x8F1BBCDC
                                  : (b ^ c ^ d) + 0xCA62C1D6;
            uint32_t next = turn(a, 5) + mix + e + words[i];
            e = d, d = c, c = turn(b, 30), b = a, a = next;
        }
        state[0] += a, state[1] += b, state[2] += c, state[3] += d, state[4] += e;
    }
    for (int i = 0; i < 20; i++) digest[i] = (uint8_t)(state[i / 4] >> (24 - i % 4 * 8));
}

/* Base64 of 20 bytes is 28 characters, the last of them padding. */
static void base64(const uint8_t digest[21], char text[29]) {
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (int i = 0; i < 7; i++) {
        uint32_t three = (uint32_t)digest[i * 3] << 16 | (uint32_t)digest[i * 3 + 1] << 8 | digest[i * 3 + 2];
        for (int j = 0; j < 4; j++) text[i * 4 + j] = letters[three >> (18 - j * 6) & 63];
    }
    text[27] = '=';
    text[28] = 0;
}

/* Send one frame back as it comes, so that its size does not matter; 0 after a close. */
static int echo_frame(void) {
    static uint8_t data[CHUNK];
    uint8_t start[10], mask[4];
    size_t length = 2;
    take_all(start, 2);
    if (!(start[1] & 0x80)) return 0; /* clients mask */
    start[1] &= 0x7F;
    if (start[1] == 126) length = 4;
    if (start[1] == 127) length = 10;
    take_all(start + 2, length - 2);
    take_all(mask, 4);
    uint64_t left = length == 2 ? start[1] : 0, at = 0;
    for (size_t i = 2; i < length; i++) left = left << 8 | start[i];
    int opcode = start[0] & 0x0F;
    if (opcode == 0x9) start[0] = (uint8_t)(start[0] + 1); /* a ping comes back as a pong */
    int answer = opcode != 0xA;
    if (answer) put(start, length);
    while (left > 0) {
        size_t got = take(data, left < CHUNK ? (size_t)left : CHUNK);
        if (got == 0) _exit(1);
        for (size_t i = 0; i < got; i++) data[i] ^= mask[at++ & 3];
        if (answer) put(data, got);
        left -= got;
    }
    return opcode != 0x8;
}

static void websocket(void) {
    char key[64], text[128], accept[29];
    uint8_t digest[21] = {0};
    header("Sec-WebSocket-Key", key, sizeof key);
    if (key[0] == 0) refuse("426 Upgrade Required");
    snprintf(text, sizeof text, "%s258EAFA5-E914-47DA-95CA-C5AB0DC85B11", key);
    sha1(text, digest);
    base64(digest, accept);
    say("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Accept: %s\r\n\r\n", accept);
    set_patience(WEBSOCKET_SECONDS);
    while (echo_frame()) {}
}

static void headers(void) {
    start_answer("200 OK", "text/plain; charset=utf-8");
    put(head, strlen(head));
}

static void serve(void) {
    int on = 1;
    setsockopt(peer, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    set_patience(REQUEST_SECONDS);
    read_head();
    if (strcmp(path, "/") == 0) page();
    else if (strcmp(path, "/headers") == 0) headers();
    else if (strcmp(path, "/upload") == 0) upload();
    else if (strcmp(path, "/stream") == 0) stream();
    else if (strcmp(path, "/ws") == 0) websocket();
    else file();
    leave(0);
}

int main(void) {
    int listener = socket(AF_INET, SOCK_STREAM, 0), on = 1;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(PORT), .sin_addr = {htonl(INADDR_ANY)}};
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    signal(SIGCHLD, SIG_IGN); /* the kernel buries the children */
    signal(SIGPIPE, SIG_IGN);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) != 0 || listen(listener, 128) != 0) {
        perror("hello");
        return 1;
    }
    printf("hello listens on port %d\n", PORT);
    fflush(stdout);
    for (;;) {
        peer = accept(listener, NULL, NULL);
        if (peer < 0) continue;
        if (fork() == 0) {
            close(listener);
            serve();
        }
        close(peer);
    }
}
