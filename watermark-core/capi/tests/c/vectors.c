/* The shared vectors (tests/vectors) in C, from the plain form that tests/c.rs gives them:
 *
 *     vectors FILE
 *
 * One case a line: its kind, then words without spaces; lists are their length, then their elements. */
#include <math.h>

#include "check.h"

static FILE *file;

static const char *word(void) {
    static char text[16][512];
    static int at;
    at = (at + 1) % 16;
    CHECK(fscanf(file, "%511s", text[at]) == 1);
    return text[at];
}

static uint64_t number(void) {
    char *end;
    const char *text = word();
    uint64_t value = strtoull(text, &end, 10);
    CHECK(*end == 0);
    return value;
}

static double real(void) {
    char *end;
    const char *text = word();
    double value = strtod(text, &end);
    CHECK(*end == 0);
    return value;
}

static void hex(uint8_t *bytes, size_t n) {
    const char *text = word();
    CHECK(strlen(text) == 2 * n);
    for (size_t i = 0; i < n; i++) {
        unsigned byte;
        CHECK(sscanf(text + 2 * i, "%2x", &byte) == 1);
        bytes[i] = (uint8_t)byte;
    }
}

/* n numbers, in memory of exactly that size, so that the sanitizer sees one step too far. */
static uint32_t *numbers(size_t n) {
    uint32_t *values = (uint32_t *)malloc(n * sizeof *values + (n == 0));
    CHECK(values != NULL);
    for (size_t i = 0; i < n; i++) {
        values[i] = (uint32_t)number();
    }
    return values;
}

static int close_to(double got, double expected) { return fabs(got - expected) <= 1e-9 * fabs(expected); }

/* A scheme of the vectors; 0 for a parameter that it does not take. */
static WmScheme *parsed(const char *name, double gamma, uint64_t depth) {
    char json[256], parameter[64] = "";
    WmScheme *scheme;
    if (gamma > 0) snprintf(parameter, sizeof parameter, ", \"gamma\": %.17g", gamma);
    if (depth > 0) snprintf(parameter, sizeof parameter, ", \"depth\": %llu", (unsigned long long)depth);
    int n = snprintf(json, sizeof json, "{\"scheme\": \"%s\"%s}", name, parameter);
    CHECK(n > 0 && (size_t)n < sizeof json);
    OK(wm_scheme_parse(json, (size_t)n, &scheme));
    return scheme;
}

static WmPrf *prf_of(size_t width) {
    uint8_t key[32];
    WmPrf *prf;
    hex(key, 32);
    OK(wm_prf_new(key, width, &prf));
    return prf;
}

/* derive MASTER ROOT NODES {PATH NODE SALT COMMITMENT PRFS {SCHEME WIDTH KEY}} */
static void derive(void) {
    uint8_t master[32], bytes[32], salt[32], expected[32], got[32];
    WmKey *root, *given, *node;
    hex(master, 32);
    OK(wm_key_from_master(master, 32, &root));
    hex(bytes, 32);
    OK(wm_key_from_node("", bytes, &given));
    memset(salt, 7, 32);
    OK(wm_key_commitment(root, salt, expected));
    OK(wm_key_commitment(given, salt, got));
    CHECK(memcmp(expected, got, 32) == 0);
    wm_key_free(given);
    for (size_t nodes = number(); nodes > 0; nodes--) {
        const char *path = word();
        OK(wm_key_descend(root, path, &node));
        hex(bytes, 32);
        OK(wm_key_from_node(path, bytes, &given));
        hex(salt, 32);
        hex(expected, 32);
        OK(wm_key_commitment(node, salt, got));
        CHECK(memcmp(expected, got, 32) == 0);
        OK(wm_key_commitment(given, salt, got));
        CHECK(memcmp(expected, got, 32) == 0);
        for (size_t prfs = number(); prfs > 0; prfs--) {
            WmPrf *derived, *raw;
            uint32_t a[16], b[16], context[8] = {1, 2, 3, 4, 5, 6, 7, 8};
            const char *scheme = word();
            size_t width = number();
            OK(wm_prf_derive(node, scheme, width, &derived));
            raw = prf_of(width);
            OK(wm_prf_context_words(derived, context, width, a));
            OK(wm_prf_context_words(raw, context, width, b));
            CHECK(memcmp(a, b, sizeof a) == 0);
            wm_prf_free(derived);
            wm_prf_free(raw);
        }
        wm_key_free(node);
        wm_key_free(given);
    }
    wm_key_free(root);
}

/* prf WIDTH KEY CONTEXT... N TOKENS... WORDS... CONTEXT_WORDS(3)... */
static void prf_words(void) {
    size_t width = number();
    WmPrf *prf = prf_of(width);
    uint32_t *context = numbers(width), context_words[16];
    size_t n = number();
    uint32_t *tokens = numbers(n), *expected = numbers(n), *first = numbers(3);
    uint32_t *got = (uint32_t *)malloc(n * sizeof *got);
    OK(wm_prf_words(prf, context, width, tokens, n, got));
    CHECK(memcmp(got, expected, n * sizeof *got) == 0);
    OK(wm_prf_words(prf, context, width, tokens, n, tokens));
    CHECK(memcmp(tokens, expected, n * sizeof *got) == 0);
    OK(wm_prf_context_words(prf, context, width, context_words));
    CHECK(memcmp(context_words, first, 3 * sizeof *first) == 0);
    free(context), free(tokens), free(expected), free(first), free(got);
    wm_prf_free(prf);
}

/* decision WIDTH KEY CONTEXT... L FAVOURED POSITION PILOT N TOKENS... BLOCKS... */
static void decision(void) {
    size_t width = number();
    WmPrf *prf = prf_of(width);
    uint32_t *context = numbers(width), words[16];
    OK(wm_prf_context_words(prf, context, width, words));
    uint64_t l = number();
    uint64_t favoured = number();
    CHECK(words[0] * l >> 32 == favoured);
    CHECK((uint64_t)words[1] * 4096 >> 32 == number());
    CHECK((words[2] < UINT32_C(1) << 31) == number());
    size_t n = number();
    uint32_t *tokens = numbers(n), *blocks = numbers(n);
    for (size_t i = 0; i < n; i++) {
        uint32_t one;
        uint64_t score;
        WmScheme *mcmark = parsed("mcmark", 1.0 / (double)l, 0);
        OK(wm_prf_words(prf, context, width, tokens + i, 1, &one));
        CHECK(one * l >> 32 == blocks[i]);
        OK(wm_scheme_score(mcmark, one, words[0], &score));
        CHECK(score == (blocks[i] == favoured));
        wm_scheme_free(mcmark);
    }
    free(context), free(tokens), free(blocks);
    wm_prf_free(prf);
}

static WmScheme *scheme(char *name) {
    strcpy(name, word());
    double gamma = real();
    return parsed(name, gamma, number());
}

/* score SCHEME GAMMA DEPTH WORD SCORE */
static void score(void) {
    char name[64];
    WmScheme *own = scheme(name);
    uint32_t prf_word = (uint32_t)number();
    uint64_t got;
    OK(wm_scheme_score(own, prf_word, 0, &got));
    wm_scheme_free(own);
    CHECK(got == number());
}

/* detect SCHEME GAMMA DEPTH WIDTH KEY DOCS {N PROMPT... N TOKENS...} SCORED HIGH LOW LOG10_P LN_E|- */
static void detect(void) {
    char name[64];
    uint8_t key[32];
    WmDetector *detector;
    WmTally *tally, *part;
    WmFinding finding;
    WmScheme *own = scheme(name);
    size_t width = number();
    hex(key, 32);
    OK(wm_detector_from_prf_key(own, width, key, &detector));
    wm_scheme_free(own);
    CHECK(wm_detector_n_layers(detector) == 1);
    OK(wm_tally_new(detector, &tally));
    OK(wm_tally_new(detector, &part));
    uint64_t positions = 0;
    for (size_t docs = number(), i = 0; i < docs; i++) {
        size_t n_prompt = number();
        uint32_t *prompt = numbers(n_prompt);
        size_t n = number();
        uint32_t *tokens = numbers(n);
        positions += n;
        /* in two parts, to be merged */
        OK(wm_tally_add(i % 2 == 0 ? tally : part, prompt, n_prompt, tokens, n));
        free(prompt), free(tokens);
    }
    OK(wm_tally_merge(tally, part));
    wm_tally_free(part);
    wm_detector_free(detector);
    finding.struct_size = sizeof finding;
    OK(wm_tally_finding(tally, 0, &finding));
    CHECK(finding.struct_size == sizeof finding && finding.layer == NULL && strcmp(finding.scheme, name) == 0);
    CHECK(finding.n_scored == number());
    CHECK(finding.n_scored + finding.n_duplicate + finding.n_excluded + finding.n_short_context == positions);
    CHECK(finding.statistic_high == number());
    CHECK(finding.statistic_low == number());
    CHECK(close_to(finding.log10_p, real()));
    const char *ln_e = word();
    CHECK(strcmp(ln_e, "-") == 0 ? isfinite(finding.ln_e) : close_to(finding.ln_e, strtod(ln_e, NULL)));
    wm_tally_free(tally);
}

/* paired MASTER PROFILE REQUEST POSITIONS {N IDS... LN_P... SERVED WITHHELD} */
static void paired(void) {
    uint8_t master[32];
    WmKey *key;
    WmMarker *marker;
    WmSession *session, *fork;
    WmSessionOptions options;
    hex(master, 32);
    OK(wm_key_from_master(master, 32, &key));
    const char *profile = word();
    OK(wm_marker_new(profile, strlen(profile), key, &marker));
    CHECK(wm_marker_has_paired_draws(marker) == 1);
    options.struct_size = sizeof options;
    OK(wm_session_options_default(&options));
    CHECK(wm_session_new(marker, &options, &session) == WM_STATUS_MISSING_INPUT);
    options.request = word();
    OK(wm_session_new(marker, &options, &session));
    size_t positions = number(), n;
    uint32_t served[16], withheld[16], got[16];
    CHECK(positions <= 16);
    for (size_t at = 0; at < positions; at++) {
        size_t candidates = number();
        uint32_t *ids = numbers(candidates), token;
        float *logits = (float *)malloc(candidates * sizeof *logits);
        for (size_t i = 0; i < candidates; i++) logits[i] = (float)real();
        served[at] = (uint32_t)number();
        withheld[at] = (uint32_t)number();
        OK(wm_session_sample_among(session, ids, logits, candidates, &token));
        CHECK(token == served[at]);
        OK(wm_session_accept(session, token));
        free(ids), free(logits);
    }
    OK(wm_session_withheld(session, got, 16, &n));
    CHECK(n == positions && memcmp(got, withheld, n * sizeof *got) == 0);
    /* a token that was not drawn withholds nothing, and a copy has no part in the request */
    OK(wm_session_accept(session, 5));
    OK(wm_session_withheld(session, got, 16, &n));
    CHECK(n == positions + 1 && got[positions] == WM_NO_TOKEN);
    OK(wm_session_fork(session, &fork));
    OK(wm_session_withheld(fork, NULL, 0, &n));
    CHECK(n == 0);
    wm_session_free(fork);
    wm_session_free(session);
    wm_marker_free(marker);
    wm_key_free(key);
}

int main(int argc, char **argv) {
    static const struct {
        const char *name;
        void (*run)(void);
    } kinds[] = {{"derive", derive}, {"prf", prf_words}, {"decision", decision}, {"score", score}, {"detect", detect},
                 {"paired", paired}};
    int cases = 0;
    char kind[64];
    CHECK(argc == 2);
    file = fopen(argv[1], "r");
    CHECK(file != NULL);
    while (fscanf(file, "%63s", kind) == 1) {
        size_t i = 0;
        while (strcmp(kinds[i].name, kind) != 0) {
            i++;
            CHECK(i < sizeof kinds / sizeof *kinds);
        }
        kinds[i].run();
        cases++;
    }
    fclose(file);
    printf("vectors: %d cases\n", cases);
    return 0;
}
