# cython: language_level=3
"""Texts as UTF-8, and as JSON writes them between quotation marks: the same bytes as msgspec's."""

from ditto.formats._output cimport Output, reserve

cdef extern from *:
    """
    /* UTF-8 of a text; almost all are ASCII, which it is as it is. */
    static inline const char *ditto_utf8(PyObject *text, Py_ssize_t *size) {
        if (PyUnicode_Check(text) && PyUnicode_IS_COMPACT_ASCII(text)) {
            *size = PyUnicode_GET_LENGTH(text);
            return (const char *)PyUnicode_DATA(text);
        }
        return PyUnicode_AsUTF8AndSize(text, size);
    }

    static inline char *ditto_put_escape(char *out, unsigned char byte) {
        static const char short_forms[] = "\\0\\0\\0\\0\\0\\0\\0\\0btn\\0fr";
        out[0] = '\\\\';
        if (byte >= 0x20) {  /* quotation mark, backslash */
            out[1] = (char)byte;
            return out + 2;
        }
        if (byte < 0x0E && short_forms[byte]) {
            out[1] = short_forms[byte];
            return out + 2;
        }
        memcpy(out + 1, "u00", 3);
        out[4] = (char)('0' + (byte >> 4));
        out[5] = "0123456789abcdef"[byte & 15];
        return out + 6;
    }

    /* The high bit of each byte that JSON escapes: below the space, quotation mark, backslash. No sum has a carry:
       https://graphics.stanford.edu/~seander/bithacks.html#ZeroInWord */
    #define DITTO_EACH(byte) (~0ULL / 255 * (byte))
    #define DITTO_LOW(word) ((word) & DITTO_EACH(0x7F))
    static inline unsigned long long ditto_escaped(unsigned long long word) {
        unsigned long long quotes = word ^ DITTO_EACH(0x22), slashes = word ^ DITTO_EACH(0x5C);
        unsigned long long other = (DITTO_LOW(word) + DITTO_EACH(0x60)) | word;
        other &= (DITTO_LOW(quotes) + DITTO_EACH(0x7F)) | quotes;
        other &= (DITTO_LOW(slashes) + DITTO_EACH(0x7F)) | slashes;
        return ~other & DITTO_EACH(0x80);
    }

    /* Up to 8 bytes of a text as a word, the first one lowest, and spaces behind them. */
    static inline unsigned long long ditto_word(const char *text, Py_ssize_t size) {
        unsigned long long word = 0;
        unsigned int at = 0, four;
        unsigned short two;
        if (size >= 8) {
            memcpy(&word, text, 8);
            return word;
        }
        if (size & 4) {
            memcpy(&four, text, 4);
            word = four;
            at = 4;
        }
        if (size & 2) {
            memcpy(&two, text + at, 2);
            word |= (unsigned long long)two << 8 * at;
            at += 2;
        }
        if (size & 1)
            word |= (unsigned long long)(unsigned char)text[at] << 8 * at;
        return word | DITTO_EACH(0x20) << 8 * size;
    }

    /* Eight bytes at a time; returns the end. Writes at most 6 bytes for each, and up to 8 behind the end. */
    static inline char *ditto_put_json(char *out, const char *text, Py_ssize_t size) {
    #if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
        for (; size > 0; text += 8, size -= 8) {
            unsigned long long word = ditto_word(text, size), escaped = ditto_escaped(word);
            int left = size < 8 ? (int)size : 8;
            memcpy(out, &word, 8);
            while (escaped) {
                int plain = __builtin_ctzll(escaped) >> 3;
                out = ditto_put_escape(out + plain, (unsigned char)(word >> 8 * plain));
                left -= plain + 1;
                word = word >> 8 * plain >> 8;
                escaped = escaped >> 8 * plain >> 8;
                memcpy(out, &word, 8);
            }
            out += left;
        }
    #else
        for (; size; size--, text++) {
            unsigned char byte = (unsigned char)*text;
            if (byte < 0x20 || byte == 0x22 || byte == 0x5C)
                out = ditto_put_escape(out, byte);
            else
                *out++ = (char)byte;
        }
    #endif
        return out;
    }
    """
    const char *utf8 "ditto_utf8"(object text, Py_ssize_t *size) except NULL
    char *put_json "ditto_put_json"(char *out, const char *text, Py_ssize_t size) noexcept


cdef enum:
    CHUNK = 1 << 12  # bytes of text for which there is room at a time


cdef inline int add_json_text(Output *out, object text) except -1:
    cdef Py_ssize_t size = 0
    cdef const char *data = utf8(text, &size)
    return add_json_data(out, data, size)


cdef inline int add_json_data(Output *out, const char *data, Py_ssize_t size) except -1:
    """Of a text's UTF-8."""
    cdef Py_ssize_t n
    reserve(out, 1)
    out.start[out.used] = 0x22
    out.used += 1
    while True:
        n = size if size < CHUNK else CHUNK
        reserve(out, 6 * n + 9)
        out.used = put_json(out.start + out.used, data, n) - out.start
        data += n
        size -= n
        if size == 0:
            break
    out.start[out.used] = 0x22
    out.used += 1
    return 0
