// The shared vectors once more in C++, over owning pointers; the file is that of vectors.c.
#include <cmath>
#include <cstdint>
#include <fstream>
#include <iomanip>
#include <iostream>
#include <memory>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "watermark.h"

namespace {

template <auto free> struct Free {
    template <typename T> void operator()(T *handle) const { free(handle); }
};
using Key = std::unique_ptr<WmKey, Free<wm_key_free>>;
using Prf = std::unique_ptr<WmPrf, Free<wm_prf_free>>;
using Detector = std::unique_ptr<WmDetector, Free<wm_detector_free>>;
using Scheme = std::unique_ptr<WmScheme, Free<wm_scheme_free>>;
using Marker = std::unique_ptr<WmMarker, Free<wm_marker_free>>;
using Session = std::unique_ptr<WmSession, Free<wm_session_free>>;
using Tally = std::unique_ptr<WmTally, Free<wm_tally_free>>;
using Ids = std::vector<std::uint32_t>;
using Bytes = std::vector<std::uint8_t>;

void check(bool holds, const std::string &what) {
    if (!holds) throw std::runtime_error(what + ": " + wm_last_error());
}

// A handle from a function that writes it to its last argument.
template <typename Handle, typename Make, typename... Arguments> Handle make(Make call, Arguments... arguments) {
    typename Handle::pointer made = nullptr;
    check(call(arguments..., &made) == WM_STATUS_OK, "a handle");
    return Handle(made);
}

std::ifstream in;

template <typename T = std::uint64_t> T next() {
    T value{};
    check(static_cast<bool>(in >> value), "the file ends inside a case");
    return value;
}

Ids numbers(std::size_t n) {
    Ids values(n);
    for (auto &value : values) value = next<std::uint32_t>();
    return values;
}

Bytes hex() {
    const auto text = next<std::string>();
    Bytes bytes(text.size() / 2);
    for (std::size_t i = 0; i < bytes.size(); i++) bytes[i] = std::uint8_t(std::stoul(text.substr(2 * i, 2), nullptr, 16));
    return bytes;
}

Bytes commitment(const Key &key, const Bytes &salt) {
    Bytes out(32);
    check(wm_key_commitment(key.get(), salt.data(), out.data()) == WM_STATUS_OK, "commitment");
    return out;
}

Ids context_words(const Prf &prf, const Ids &context) {
    Ids words(16);
    check(wm_prf_context_words(prf.get(), context.data(), context.size(), words.data()) == WM_STATUS_OK, "context words");
    return words;
}

Ids words(const Prf &prf, const Ids &context, const Ids &tokens) {
    Ids out(tokens.size());
    const auto status = wm_prf_words(prf.get(), context.data(), context.size(), tokens.data(), tokens.size(), out.data());
    check(status == WM_STATUS_OK, "words");
    return out;
}

void derive() {
    const auto master = hex();
    const auto root = make<Key>(wm_key_from_master, master.data(), master.size());
    const auto node_of_root = hex();
    const auto given = make<Key>(wm_key_from_node, "", node_of_root.data());
    check(commitment(root, master) == commitment(given, master), "root");
    for (auto nodes = next(); nodes > 0; nodes--) {
        const auto path = next<std::string>();
        const auto node = make<Key>(wm_key_descend, root.get(), path.c_str());
        const auto bytes = hex(), salt = hex(), expected = hex();
        check(commitment(node, salt) == expected, path);
        check(commitment(make<Key>(wm_key_from_node, path.c_str(), bytes.data()), salt) == expected, path);
        for (auto prfs = next(); prfs > 0; prfs--) {
            const auto scheme = next<std::string>();
            const std::size_t width = next();
            const auto key = hex();
            const Ids context(width, 1);
            const auto derived = make<Prf>(wm_prf_derive, node.get(), scheme.c_str(), width);
            check(context_words(derived, context) == context_words(make<Prf>(wm_prf_new, key.data(), width), context), scheme);
        }
    }
}

void prf() {
    const std::size_t width = next();
    const auto key = hex();
    const auto prf = make<Prf>(wm_prf_new, key.data(), width);
    const auto context = numbers(width);
    const std::size_t n = next();
    const auto tokens = numbers(n), expected = numbers(n), first = numbers(3);
    check(words(prf, context, tokens) == expected, "words");
    auto all = context_words(prf, context);
    all.resize(3);
    check(all == first, "context words");
}

void decision() {
    const std::size_t width = next();
    const auto key = hex();
    const auto prf = make<Prf>(wm_prf_new, key.data(), width);
    const auto context = numbers(width), of = context_words(prf, context);
    const auto l = next();
    check(of[0] * l >> 32 == next() && std::uint64_t(of[1]) * 4096 >> 32 == next(), "context decisions");
    check((of[2] >> 31 == 0) == (next() == 1), "pilot");
    const std::size_t n = next();
    const auto tokens = numbers(n);
    auto blocks = words(prf, context, tokens);
    for (auto &block : blocks) block = std::uint32_t(block * l >> 32);
    check(blocks == numbers(n), "blocks");
}

Scheme scheme() {
    std::ostringstream json;
    json << std::setprecision(17) << "{\"scheme\": \"" << next<std::string>() << '"';
    if (const auto gamma = next<double>(); gamma > 0) json << ", \"gamma\": " << gamma;
    if (const auto depth = next(); depth > 0) json << ", \"depth\": " << depth;
    json << '}';
    return make<Scheme>(wm_scheme_parse, json.str().c_str(), json.str().size());
}

void score() {
    const auto of = scheme();
    const auto word = next<std::uint32_t>();
    std::uint64_t got = 0;
    check(wm_scheme_score(of.get(), word, 0, &got) == WM_STATUS_OK && got == next(), "score");
}

void detect() {
    const auto close = [](double got, double expected) { return std::abs(got - expected) <= 1e-9 * std::abs(expected); };
    const auto of = scheme();
    const std::size_t width = next();
    const auto key = hex();
    const auto detector = make<Detector>(wm_detector_from_prf_key, of.get(), width, key.data());
    const auto tally = make<Tally>(wm_tally_new, detector.get());
    for (auto docs = next(); docs > 0; docs--) {
        const auto prompt = numbers(next()), tokens = numbers(next());
        const auto status = wm_tally_add(tally.get(), prompt.data(), prompt.size(), tokens.data(), tokens.size());
        check(status == WM_STATUS_OK, "add");
    }
    WmFinding finding{};
    finding.struct_size = sizeof finding;
    check(wm_tally_finding(tally.get(), 0, &finding) == WM_STATUS_OK, "finding");
    check(finding.n_scored == next(), "n_scored");
    const auto high = next(), low = next();
    check(finding.statistic_high == high && finding.statistic_low == low, "statistic");
    check(close(finding.log10_p, next<double>()), "log10_p");
    const auto ln_e = next<std::string>();
    check(ln_e == "-" ? std::isfinite(finding.ln_e) : close(finding.ln_e, std::stod(ln_e)), "ln_e");
}

void paired() {
    const auto master = hex();
    const auto key = make<Key>(wm_key_from_master, master.data(), master.size());
    const auto profile = next<std::string>();
    const auto marker = make<Marker>(wm_marker_new, profile.c_str(), profile.size(), key.get());
    const auto request = next<std::string>();
    WmSessionOptions options;
    options.struct_size = sizeof options;
    check(wm_session_options_default(&options) == WM_STATUS_OK, "options");
    options.request = request.c_str();
    const auto session = make<Session>(wm_session_new, marker.get(), &options);
    Ids expected;
    for (auto positions = next(); positions > 0; positions--) {
        const std::size_t n = next();
        const auto ids = numbers(n);
        std::vector<float> logits(n);
        for (auto &logit : logits) logit = float(next<double>());
        std::uint32_t token = 0;
        check(wm_session_sample_among(session.get(), ids.data(), logits.data(), n, &token) == WM_STATUS_OK, "sample");
        check(token == next(), "served");
        check(wm_session_accept(session.get(), token) == WM_STATUS_OK, "accept");
        expected.push_back(next<std::uint32_t>());
    }
    Ids withheld(expected.size());
    std::size_t n = 0;
    check(wm_session_withheld(session.get(), withheld.data(), withheld.size(), &n) == WM_STATUS_OK, "withheld");
    check(n == expected.size() && withheld == expected, "withheld tokens");
}

}  // namespace

int main(int argc, char **argv) try {
    check(argc == 2, "one file");
    in.open(argv[1]);
    int cases = 0;
    for (std::string kind; in >> kind; cases++) {
        if (kind == "derive") derive();
        else if (kind == "prf") prf();
        else if (kind == "decision") decision();
        else if (kind == "score") score();
        else if (kind == "detect") detect();
        else if (kind == "paired") paired();
        else check(false, "unknown kind " + kind);
    }
    std::cout << "vectors: " << cases << " cases\n";
} catch (const std::exception &error) {
    std::cerr << error.what() << '\n';
    return 1;
}
