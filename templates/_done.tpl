% if page.done:
<div class="notice good" role="status">
%   if page.done.href:
  <p><a href="{{page.done.href}}">{{page.done.text}}</a></p>
%   else:
  <p>{{page.done.text}}</p>
%   end
</div>
% end
