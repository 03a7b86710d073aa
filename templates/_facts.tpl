% # What is known of a thing, by title. Wants: fields.
<dl class="record">
% for field in fields:
  <div class="{{'long' if field.multiline else ''}}">
    <dt>{{field.title}}</dt>
%   if field.text == "" or field.text is None:
    <dd class="none">—</dd>
%   elif getattr(field, "files", None):
    <dd><ul class="files">
%     for name, href in field.files:
      <li><a href="{{href}}"><bdi>{{name}}</bdi></a></li>
%     end
    </ul></dd>
%   elif field.href:
    <dd><a href="{{field.href}}"><bdi>{{field.text}}</bdi></a></dd>
%   else:
    <dd><bdi>{{field.text}}</bdi></dd>
%   end
  </div>
% end
</dl>
