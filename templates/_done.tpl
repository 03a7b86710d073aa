% # page.done or page.message: "", a text, or an object with text and href.
% done = get('done') or ""
% if done:
<div class="notice good" role="status">
%   if isinstance(done, str):
  <p>{{done}}</p>
%   elif done.href:
  <p><a href="{{done.href}}">{{done.text}}</a></p>
%   else:
  <p>{{done.text}}</p>
%   end
</div>
% end
