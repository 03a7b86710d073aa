<div class="blocks">
% for row in page.rows:
%   if row.numbers:
  <div class="block-numbers">
%     for block in row.numbers:
%       include('_number.tpl', block=block)
%     end
  </div>
%   end
%   for block in row.blocks:
%     if block.kind == "number":
%       include('_number.tpl', block=block)
%     else:
%       include('_block.tpl', block=block)
%     end
%   end
% end
</div>
