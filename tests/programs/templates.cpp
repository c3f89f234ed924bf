// Something that costs a compiler much memory: templates that go deep and wide.
#include <algorithm>
#include <array>
#include <functional>
#include <map>
#include <regex>
#include <string>
#include <tuple>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

#ifndef WIDE // how many members; compiling costs its square
#define WIDE 300
#endif

template <std::size_t N> struct Number {
	std::array<int, N % 7 + 1> values{};
	int sum() const
	{
		int total = static_cast<int>(N);
		for (int value : values)
			total += value;
		return total;
	}
};

template <std::size_t... I> static int add_all(std::index_sequence<I...>)
{
	std::tuple<Number<I>...> all;
	return (std::get<I>(all).sum() + ... + 0);
}

template <int N> struct Tower {
	std::map<int, std::vector<std::string>> table;
	Tower<N - 1> below;
	std::string name() const
	{
		return below.name() + std::to_string(N);
	}
};
template <> struct Tower<0> {
	std::string name() const
	{
		return "ground";
	}
};

using Any = std::variant<int, double, std::string, std::vector<int>, std::map<std::string, int>>;

int main()
{
	std::unordered_map<std::string, std::function<Any(Any)>> functions;
	std::regex word("([a-z]+)[0-9]*");
	Tower<120> tower;

	functions["size"] = [](Any any) -> Any { return std::visit([](auto &value) { return static_cast<int>(sizeof(value)); }, any); };
	return static_cast<int>(add_all(std::make_index_sequence<WIDE>{}) + static_cast<int>(tower.name().size())) +
	       std::regex_match("abc12", word);
}
