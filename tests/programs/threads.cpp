// Threads with containers, strings, shared pointers and futures, passing objects to each other. Prints sums that do not depend on who was quicker.
#include <algorithm>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <future>
#include <iostream>
#include <map>
#include <memory>
#include <mutex>
#include <new>
#include <numeric>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

struct Message {
	std::string text;
	std::vector<std::uint32_t> numbers;
	std::shared_ptr<std::map<int, std::string>> table;
};

struct alignas(128) Wide {
	std::uint64_t words[20] = {};
};

template <class T> class Queue {
	std::mutex mutex;
	std::condition_variable some;
	std::deque<T> items;

public:
	void put(T item)
	{
		std::lock_guard<std::mutex> held(mutex);
		items.push_back(std::move(item));
		some.notify_one();
	}
	T get()
	{
		std::unique_lock<std::mutex> held(mutex);
		some.wait(held, [this] { return !items.empty(); });
		T item = std::move(items.front());
		items.pop_front();
		return item;
	}
};

static std::uint64_t produce(Queue<std::unique_ptr<Message>> &queue, unsigned seed, unsigned n)
{
	std::uint64_t sum = 0;

	for (unsigned i = 0; i < n; i++) {
		auto message = std::make_unique<Message>();

		seed = seed * 1664525 + 1013904223;
		message->text = std::string(seed >> 22, 'a' + seed % 26);
		message->numbers.resize(seed >> 20 & 0xff);
		std::iota(message->numbers.begin(), message->numbers.end(), i);
		if (i % 16 == 0) {
			message->table = std::make_shared<std::map<int, std::string>>();
			for (int k = 0; k < 20; k++)
				(*message->table)[k * 7 % 20] = std::to_string(k * i);
		}
		sum += message->text.size() + message->numbers.size();
		queue.put(std::move(message));
	}
	queue.put(nullptr);
	return sum;
}

static std::uint64_t consume(Queue<std::unique_ptr<Message>> &queue, unsigned producers)
{
	std::unordered_map<std::string, std::uint64_t> seen;
	std::uint64_t sum = 0;

	while (producers != 0) {
		auto message = queue.get();

		if (!message) {
			producers--;
			continue;
		}
		seen[message->text.substr(0, 40)] += message->numbers.size();
		if (message->table)
			sum += message->table->at(3).size();
	}
	for (const auto &[text, count] : seen)
		sum += text.size() * count;
	return sum;
}

int main()
{
	Queue<std::unique_ptr<Message>> queue;
	std::vector<std::future<std::uint64_t>> made;
	std::uint64_t sum = 0;

	for (unsigned i = 0; i < 3; i++)
		made.push_back(std::async(std::launch::async, produce, std::ref(queue), i + 1, 20000));
	std::cout << "consumed " << consume(queue, 3) << "\n";
	for (auto &one : made)
		sum += one.get();
	std::cout << "produced " << sum << "\n";

	std::vector<std::thread> threads;
	std::vector<std::uint64_t> sums(200);
	for (unsigned i = 0; i < sums.size(); i++) {
		threads.emplace_back([i, &sums] {
			std::vector<std::unique_ptr<Wide>> wide;
			for (unsigned k = 0; k < 100; k++)
				wide.push_back(std::make_unique<Wide>());
			for (auto &one : wide)
				sums[i] += reinterpret_cast<std::uintptr_t>(one.get()) % alignof(Wide);
			std::vector<std::string> words;
			for (unsigned k = 0; k < 500; k++)
				words.push_back(std::to_string(k * i) + std::string(k % 60, 'x'));
			std::sort(words.begin(), words.end());
			sums[i] += words[i].size();
		});
	}
	for (auto &thread : threads)
		thread.join();
	std::cout << "sorted " << std::accumulate(sums.begin(), sums.end(), std::uint64_t{0}) << "\n";

	try {
		void *volatile too_much = ::operator new(static_cast<std::size_t>(1) << 62);
		std::cout << "got " << too_much << "\n";
	} catch (const std::bad_alloc &) {
		std::cout << "bad_alloc thrown and caught\n";
	}
	std::cout << (::operator new(static_cast<std::size_t>(1) << 62, std::nothrow) == nullptr ? "nothrow answers null" : "?") << "\n";
}
