-- Tables, strings and coroutines, and a collector that takes them away.
local sum, t = 0, {}
for i = 1, 300000 do
	t[i % 5000 + 1] = { i, tostring(i), { x = i } }
	if i % 7 == 0 then sum = sum + #t[i % 5000 + 1][2] end
end
print(sum, #t)
local parts = {}
for i = 1, 50000 do parts[#parts + 1] = string.rep("ab", i % 50) .. i end
local s = table.concat(parts, ",")
print(#s, select(2, s:gsub("ba", "BA")))
local function tree(n) if n == 0 then return {} end return { tree(n - 1), tree(n - 1) } end
local function count(n) return n[1] and 1 + count(n[1]) + count(n[2]) or 1 end
for depth = 4, 14, 2 do print(depth, count(tree(depth))) end
local co = {}
for i = 1, 2000 do co[i] = coroutine.wrap(function() for k = 1, 5 do coroutine.yield(k * i) end end) end
local total = 0
for k = 1, 5 do for i = 1, 2000 do total = total + co[i]() end end
print(total)
collectgarbage()
